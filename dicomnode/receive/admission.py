"""Who may open an association, and to which pipeline.  A decision on values; no network here."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicomnode.config import AllowedCaller

# Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 9.3.4).
_CALLED_NOT_RECOGNIZED: Final = (1, 1, 7)
_CALLING_NOT_RECOGNIZED: Final = (1, 1, 3)
_TEMPORARY_CONGESTION: Final = (2, 3, 1)
_LOCAL_LIMIT_EXCEEDED: Final = (2, 3, 2)

_NAMES: Final = {
    _CALLED_NOT_RECOGNIZED: "called_ae_title",
    _CALLING_NOT_RECOGNIZED: "calling_ae_title",
    (1, 2, 1): "user_identity",
    _TEMPORARY_CONGESTION: "temporary_congestion",
    _LOCAL_LIMIT_EXCEEDED: "local_limit",
}
REJECTIONS: Final = {
    _CALLED_NOT_RECOGNIZED: "the called AE title is no pipeline's",
    _CALLING_NOT_RECOGNIZED: "calling AE title or address are not allowed",
    _TEMPORARY_CONGESTION: "the node is stopping, free space is below reserve and headroom, or the "
    "pipeline's quota is used up",
    _LOCAL_LIMIT_EXCEEDED: "as many associations are open as may be, in all or from one address",
}
"""When an association is rejected, by result, source and reason."""

_FEW: Final = 4
"""So few associations are not divided among peers unless the configuration says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """The association may be negotiated.

    Attributes
    ----------
    pipeline : str
        Name of the pipeline behind the called AE title.
    verification_only : bool
        Nothing but Verification is to be negotiated.
    """

    pipeline: str
    verification_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """The association is rejected.

    Attributes
    ----------
    result, source, reason : int
        As PS3.8 9.3.4 numbers them.
    words : str
        What was wanted and found, for the log.
    """

    result: int
    source: int
    reason: int
    words: str

    @property
    def name(self) -> str:
        """Result, source and reason in one word of a closed set, for metrics."""
        return _NAMES.get((self.result, self.source, self.reason), "own_failure")


NO_REASON: Final = Rejected(result=2, source=1, reason=1, words="the node could not decide")
"""For failures of our own: transient, so that the peer tries again."""


class Admission:
    """The rules, fixed at start.

    Parameters
    ----------
    pipelines : mapping
        Called AE title -> pipeline, exactly as peers use it.
    allowed_callers : sequence of AllowedCaller
        Empty: any AE title, from this machine only.
    max_associations : int
        Open at the same time.
    max_associations_per_peer : int, optional
        Of these, from one address; by default all but two, so that one peer never takes them all.
    """

    def __init__(
        self,
        *,
        pipelines: Mapping[str, str],
        allowed_callers: Sequence[AllowedCaller],
        max_associations: int,
        max_associations_per_peer: int | None = None,
    ) -> None:
        self._pipelines = dict(pipelines)
        self._max_associations = max_associations
        left_to_others = 2 if max_associations > _FEW else 0
        self.max_per_peer = max_associations_per_peer or max_associations - left_to_others
        self._callers: dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {}
        self._may_store: dict[str, list[ipaddress.IPv4Network | ipaddress.IPv6Network]] = {}
        for caller in allowed_callers:
            networks = [ipaddress.ip_network(each, strict=False) for each in caller.hosts]
            self._callers.setdefault(caller.ae_title, []).extend(networks)
            if not caller.verification_only:
                self._may_store.setdefault(caller.ae_title, []).extend(networks)

    def decide(
        self,
        *,
        called_ae_title: str,
        calling_ae_title: str,
        host: str,
        open_associations: int,
        open_from_peer: int = 0,
        is_draining: bool = False,
        shortage: str | None = None,
    ) -> Admitted | Rejected:
        """Decide about one association request.

        Parameters
        ----------
        called_ae_title, calling_ae_title : str
            As in the A-ASSOCIATE-RQ, without padding.
        host : str
            The peer's address.
        open_associations : int
            Those admitted and not yet ended, without this one.
        open_from_peer : int
            Of these, from the same address.
        is_draining : bool
            The node is stopping.
        shortage : str, optional
            Why there is no room for what the association would bring.
        """
        pipeline = self._pipelines.get(called_ae_title)
        if pipeline is None:
            wanted = ", ".join(sorted(self._pipelines))
            return _reject(
                _CALLED_NOT_RECOGNIZED, f"called AE title: wanted {wanted}, found {called_ae_title}"
            )
        fault = self._caller_fault(calling_ae_title, host)
        if fault is not None:
            return _reject(_CALLING_NOT_RECOGNIZED, fault)
        if is_draining:
            shortage = "the node is stopping"
        if shortage is not None:
            return _reject(_TEMPORARY_CONGESTION, shortage)
        fault = self._limit_fault(host, open_associations, open_from_peer)
        if fault is not None:
            return _reject(_LOCAL_LIMIT_EXCEEDED, fault)
        return Admitted(
            pipeline=pipeline,
            verification_only=not self._is_storing_caller(calling_ae_title, host),
        )

    def pipeline(self, called_ae_title: str) -> str | None:
        """Return the pipeline behind a called AE title, None if there is none."""
        return self._pipelines.get(called_ae_title)

    def _limit_fault(self, host: str, in_all: int, from_peer: int) -> str | None:
        if in_all >= self._max_associations:
            return f"{in_all} associations are open, the limit"
        if from_peer >= self.max_per_peer:
            return f"{from_peer} associations from {host} are open, the limit for one peer"
        return None

    def _is_storing_caller(self, calling_ae_title: str, host: str) -> bool:
        if not self._callers:
            return True
        address = _address(host)
        return any(address in each for each in self._may_store.get(calling_ae_title, ()))

    def _caller_fault(self, calling_ae_title: str, host: str) -> str | None:
        address = _address(host)
        if not self._callers:
            if address.is_loopback:
                return None
            return f"peer: wanted one on this machine (no callers are configured), found {host}"
        networks = self._callers.get(calling_ae_title)
        if networks is None:
            wanted = ", ".join(sorted(self._callers))
            return f"calling AE title: wanted {wanted}, found {calling_ae_title}"
        if not any(address in each for each in networks):
            wanted = ", ".join(str(each) for each in networks)
            return f"peer of {calling_ae_title}: wanted {wanted}, found {host}"
        return None


def _reject(code: tuple[int, int, int], words: str) -> Rejected:
    result, source, reason = code
    return Rejected(result=result, source=source, reason=reason, words=words)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return the address; one of IPv4 that came in over an IPv6 socket is one of IPv4."""
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
