"""The console on a socket."""

from __future__ import annotations

import socket
import ssl
import urllib.request

import pytest
from fastapi import FastAPI

from dicomnode.config import ConsoleConfig, ConsoleTlsConfig
from dicomnode.console.server import ConsoleServer
from dicomnode.errors import ConfigError, StateError
from tests.support.certificates import Authority


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


def test_with_a_certificate_it_speaks_https(app, tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("console", passphrase="a phrase")  # noqa: S106 - invented
    phrase = tmp_path / "phrase"
    phrase.write_text("a phrase\n")
    tls = ConsoleTlsConfig(certificate=pair.certificate, key=pair.key, key_passphrase_file=phrase)
    server = ConsoleServer(app, ConsoleConfig(port=0), tls=tls)
    server.start()
    try:
        assert server.url.startswith("https://127.0.0.1:")
        context = ssl.create_default_context(cafile=authority.certificate)
        with urllib.request.urlopen(server.url + "healthz", timeout=10, context=context) as answer:  # noqa: S310 - ours
            assert answer.status == 200
    finally:
        server.stop()


def test_a_key_that_cannot_be_used_is_told_before_it_serves(app, tmp_path):
    pair = Authority(tmp_path).issue("console", passphrase="a phrase")  # noqa: S106 - invented
    tls = ConsoleTlsConfig(certificate=pair.certificate, key=pair.key)

    with pytest.raises(ConfigError, match=r"console\.tls"):
        ConsoleServer(app, ConsoleConfig(port=0), tls=tls)
