"""Who is at the other end, and which proxies are believed."""

from __future__ import annotations

import pytest
from fastapi import Request

from dicomnode.config import ProxyConfig
from dicomnode.console.clients import Clients

PROXY = ProxyConfig(addresses=("192.0.2.1", "10.0.0.0/8"))


def client(peer, headers, *, proxy=PROXY):
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    scope = {
        "type": "http",
        "scheme": "http",
        "path": "/",
        "query_string": b"",
        "headers": [(b"host", b"node:8080"), *raw],
        "client": (peer, 4000),
        "server": ("node", 8080),
    }
    return Clients(proxy).client(Request(scope))


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("192.0.2.1", ["203.0.113.5"], "203.0.113.5"),
        ("192.0.2.1", ["198.51.100.66, 203.0.113.5"], "203.0.113.5"),
        ("192.0.2.1", ["198.51.100.66", "203.0.113.5"], "203.0.113.5"),
        ("192.0.2.1", ["203.0.113.5, 10.1.2.3"], "203.0.113.5"),
        ("192.0.2.1", ["rubbish"], "192.0.2.1"),
        ("192.0.2.1", [], "192.0.2.1"),
        ("203.0.113.9", ["203.0.113.5"], "203.0.113.9"),
        ("::ffff:192.0.2.1", ["2001:db8::5"], "2001:db8::5"),
    ],
)
def test_the_address_is_the_last_that_no_proxy_of_ours_added(peer, forwarded, found):
    assert client(peer, [("X-Forwarded-For", each) for each in forwarded]).address == found


def test_the_origin_behind_a_proxy_is_what_the_browser_sees():
    headers = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "Console.Example.org")]

    found = client("10.9.9.9", headers)

    assert (found.origin, found.is_https, found.is_private) == (
        "https://console.example.org",
        True,
        True,
    )


def test_nobody_else_can_say_that_it_was_https():
    found = client("203.0.113.9", [("X-Forwarded-Proto", "https")])

    assert (found.origin, found.is_https, found.is_private) == ("http://node:8080", False, False)


def test_without_a_proxy_nobody_is_believed():
    assert client("192.0.2.1", [("X-Forwarded-For", "203.0.113.5")], proxy=None).by_proxy is False
