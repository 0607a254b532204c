"""Audit messages on the wire: RFC 5424 over UDP, TCP and TLS, and a repository that is away."""

from __future__ import annotations

import re
import socket
import socketserver
import ssl
import threading

import pytest
import structlog

from dicomnode.config import AuditConfig
from dicomnode.console.audit_message import Event, Message, Outcome
from dicomnode.console.syslog import SyslogRepository
from dicomnode.errors import ConfigError
from tests.support.certificates import Authority

FRAME = re.compile(
    rb"<85>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S+ dicomnode \d+ DICOM\+RFC3881 - "
    rb"\xef\xbb\xbf<\?xml .*<AuditMessage>.*</AuditMessage>",
    re.DOTALL,
)
MESSAGE = Message(event=Event.LOGIN, outcome=Outcome.SUCCESS, user="anna", address="192.0.2.9")


class Server:
    """Takes octet-counted frames (RFC 5425, RFC 6587)."""

    def __init__(self, *, port=0, context=None):
        self.frames = []
        self.changed = threading.Condition()
        outer = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                while length := outer._length(self.rfile):
                    frame = self.rfile.read(length)
                    with outer.changed:
                        outer.frames.append(frame)
                        outer.changed.notify_all()

        class Threading(socketserver.ThreadingTCPServer):
            allow_reuse_address = True
            daemon_threads = True

            def get_request(self):
                stream, address = super().get_request()
                return (stream if context is None else context.wrap_socket(stream, True)), address

            def handle_error(self, request, client_address):
                """A client that does not trust us hangs up."""

        self._server = Threading(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @staticmethod
    def _length(stream):
        digits = b""
        while (byte := stream.read(1)) and byte != b" ":
            digits += byte
        return int(digits) if digits else 0

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.frames) >= count, 20)
            return list(self.frames)

    def stop(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server():
    started = Server()
    yield started
    started.stop()


@pytest.fixture
def repository():
    opened = []

    def make(**config):
        made = SyslogRepository(AuditConfig(host="127.0.0.1", **config))
        made.start()
        opened.append(made)
        return made

    yield make
    for each in opened:
        each.stop(seconds=0.2)


def test_over_tcp_frames_are_counted(server, repository):
    sender = repository(transport="tcp", port=server.port)

    for _ in range(3):
        sender.send(MESSAGE)

    assert all(FRAME.fullmatch(each) for each in server.wait(3))


def test_over_udp_a_datagram_is_a_message(repository):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(20)
        repository(transport="udp", port=receiver.getsockname()[1]).send(MESSAGE)

        assert FRAME.fullmatch(receiver.recv(65536))


def test_over_tls_the_repository_shows_a_certificate_we_trust(tmp_path, repository):
    authority = Authority(tmp_path / "ca")
    files = authority.issue("audit")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = Server(context=context)
    try:
        sender = repository(transport="tls", port=server.port, ca_file=authority.certificate)
        sender.send(MESSAGE)

        assert FRAME.fullmatch(server.wait(1)[0])
    finally:
        server.stop()


def test_a_repository_that_nobody_vouches_for_is_told_nothing(tmp_path, repository):
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    files = theirs.issue("audit")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    server = Server(context=context)
    try:
        with structlog.testing.capture_logs() as lines:
            sender = repository(transport="tls", port=server.port, ca_file=ours.certificate)
            sender.send(MESSAGE)
            sender.stop(seconds=1)

        assert server.frames == []
        assert "audit_repository_away" in [each["event"] for each in lines]
    finally:
        server.stop()


def test_what_happened_while_it_was_away_is_told_when_it_comes_back(repository):
    first = Server()
    port = first.port
    first.stop()
    sender = repository(transport="tcp", port=port)
    sender.send(MESSAGE)
    sender.send(MESSAGE)

    second = Server(port=port)
    try:
        assert len(second.wait(2)) == 2
    finally:
        second.stop()


def test_a_certificate_that_cannot_be_used_is_told_at_the_start(tmp_path):
    config = AuditConfig(host="127.0.0.1", ca_file=tmp_path / "nothing.pem")

    with pytest.raises(ConfigError, match=r"console\.audit"):
        SyslogRepository(config)
