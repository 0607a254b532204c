"""The console on a socket."""

from __future__ import annotations

import socket
import urllib.request

import pytest
from fastapi import FastAPI

from dicomnode.config import ConsoleConfig
from dicomnode.console.server import ConsoleServer
from dicomnode.errors import StateError


@pytest.fixture
def app():
    made = FastAPI()
    made.get("/healthz")(lambda: "ok")
    return made


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_serves_from_start_to_stop(app, host):
    server = ConsoleServer(app, ConsoleConfig(host=host, port=0))
    server.start()
    url = server.url

    with urllib.request.urlopen(url + "healthz", timeout=10) as answer:  # noqa: S310 - ours
        assert answer.status == 200
    server.stop()

    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url + "healthz", timeout=10)  # noqa: S310 - ours


def test_a_port_in_use_is_told(app):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(StateError, match=f"cannot listen on 127.0.0.1 port {port}"):
            ConsoleServer(app, ConsoleConfig(port=port)).start()


def test_an_unstarted_one_has_no_address(app):
    with pytest.raises(StateError, match="not been started"):
        _ = ConsoleServer(app, ConsoleConfig(port=0)).url


def test_an_unstarted_one_can_be_stopped(app):
    ConsoleServer(app, ConsoleConfig(port=0)).stop()
