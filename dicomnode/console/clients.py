"""Who is at the other end of a request, and under which address they see us.  Asks nobody's name.

A proxy's word is taken only from the addresses that the configuration lists.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from dicomnode.config import ProxyConfig

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The other end of a request.

    Attributes
    ----------
    address : str
        Of whoever asks: behind a proxy that is believed, what the proxy says.
    origin : str
        Of our pages as that browser sees them: ``https://console.example.org``.
    is_private : bool
        Nobody on the way can read along: HTTPS, or within this machine.
    is_https : bool
    by_proxy : bool
        The request came from a proxy that is believed.
    """

    address: str
    origin: str
    is_private: bool
    is_https: bool
    by_proxy: bool


class Clients:
    """Tells who asks.

    Parameters
    ----------
    proxy : ProxyConfig or None
        The proxy that is believed.
    """

    def __init__(self, proxy: ProxyConfig | None) -> None:
        hosts = () if proxy is None else proxy.addresses
        self._proxies = tuple(ipaddress.ip_network(each, strict=False) for each in hosts)

    def client(self, request: Request) -> Client:
        """Return who sent a request."""
        peer = parse_address("" if request.client is None else request.client.host)
        scheme, host = request.url.scheme, request.headers.get("host", "")
        by_proxy = peer is not None and any(peer in each for each in self._proxies)
        address = peer
        if by_proxy:
            address = self._forwarded_for(request) or peer
            scheme = _last(request.headers.getlist("x-forwarded-proto")) or scheme
            host = _last(request.headers.getlist("x-forwarded-host")) or host
        is_https = scheme == "https"
        return Client(
            address="unknown" if address is None else str(address),
            origin=f"{scheme}://{host}".lower(),
            is_https=is_https,
            is_private=is_https or (address is not None and address.is_loopback),
            by_proxy=by_proxy,
        )

    def _forwarded_for(self, request: Request) -> _Address | None:
        """Return the last address that was not added by a proxy we believe for one."""
        named = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        for text in reversed(named):
            address = parse_address(text.strip())
            if address is None or not any(address in each for each in self._proxies):
                return address
        return None


def parse_address(text: str) -> _Address | None:
    """Return an address, of IPv4 also where it came in over an IPv6 socket; None if it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _last(values: Sequence[str]) -> str:
    return ",".join(values).rpartition(",")[2].strip()
