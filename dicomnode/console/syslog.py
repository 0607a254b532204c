"""Sending audit messages by syslog: RFC 5424 over TLS (RFC 5425), TCP (RFC 6587) or UDP (RFC 5426).

A thread of its own sends; whoever has a message never waits.
"""

from __future__ import annotations

import os
import queue
import socket
import ssl
import threading
import time
from contextlib import ExitStack
from typing import Final

from dicomnode.config import AuditConfig
from dicomnode.console.audit_message import Message, encode
from dicomnode.errors import ConfigError
from dicomnode.log import get_logger

_PRIORITY: Final = 10 * 8 + 5
"""Facility security/authorization, severity notice."""
_MESSAGE_ID: Final = "DICOM+RFC3881"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_WAITING: Final = 10_000
_CONNECT_SECONDS: Final = 10.0
_FIRST_PAUSE_SECONDS: Final = 1.0
_LONGEST_PAUSE_SECONDS: Final = 60.0

_log = get_logger(__name__)


class SyslogRepository:
    """An audit repository that is sent messages by syslog.

    Messages wait while it is away, in memory; when too many wait, new ones are lost and counted in
    the log.

    Parameters
    ----------
    config : AuditConfig

    Raises
    ------
    ConfigError
        If a certificate or key cannot be used.
    """

    def __init__(self, config: AuditConfig) -> None:
        self._config = config
        self._tls = _context(config)
        self._queue: queue.Queue[bytes | None] = queue.Queue(_WAITING)
        self._lost = 0
        self._socket: socket.socket | None = None
        self._process = f"dicomnode@{socket.gethostname()}"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="audit-syslog", daemon=True)

    def start(self) -> None:
        """Send from now on."""
        self._thread.start()

    def stop(self, *, seconds: float = 5.0) -> None:
        """Send what waits, as far as that succeeds in time."""
        deadline = time.monotonic() + seconds
        try:
            self._queue.put(None, timeout=seconds)
        except queue.Full:
            _log.error("audit_messages_lost", count=self._queue.qsize())
        self._thread.join(max(deadline - time.monotonic(), 0.1))
        self._ending.set()
        self._thread.join(_CONNECT_SECONDS)
        self._close()

    def send(self, message: Message) -> None:
        """Take a message; it neither waits nor raises."""
        config = self._config
        content = encode(
            message, source_id=config.source_id, site_id=config.site_id, process=self._process
        )
        at = message.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        head = (
            f"<{_PRIORITY}>1 {at} {socket.gethostname()} dicomnode {os.getpid()} {_MESSAGE_ID} - "
        )
        try:
            self._queue.put_nowait(head.encode("ascii", "replace") + _BYTE_ORDER_MARK + content)
        except queue.Full:
            self._lost += 1
            if self._lost & (self._lost - 1) == 0:  # a line for 1, 2, 4, 8, ... of them
                _log.error("audit_messages_lost", count=self._lost)

    def _run(self) -> None:
        while (frame := self._queue.get()) is not None:
            self._insist(frame)

    def _insist(self, frame: bytes) -> None:
        """Send one message, however often it takes, unless the end has come."""
        pause = _FIRST_PAUSE_SECONDS
        while not self._ending.is_set():
            try:
                self._send(frame)
            except OSError as error:
                self._close()
                reason = error.strerror or type(error).__name__
                _log.warning("audit_repository_away", host=self._config.host, reason=reason)
                self._ending.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            else:
                return

    def _send(self, frame: bytes) -> None:
        if self._config.transport == "udp":
            self._open(socket.SOCK_DGRAM).send(frame)
            return
        stream = self._open(socket.SOCK_STREAM)
        if _is_closed(stream):
            raise ConnectionResetError(0, "closed by the repository")
        stream.sendall(b"%d %s" % (len(frame), frame))

    def _open(self, kind: socket.SocketKind) -> socket.socket:
        if self._socket is not None:
            return self._socket
        where = (self._config.host, self._config.port)
        if kind is socket.SOCK_DGRAM:
            family, _, _, _, address = socket.getaddrinfo(*where, type=kind)[0]
            opened = socket.socket(family, kind)
            opened.connect(address)
        else:
            opened = socket.create_connection(where, timeout=_CONNECT_SECONDS)
            if self._tls is not None:
                with ExitStack() as stack:
                    stack.callback(opened.close)
                    opened = self._tls.wrap_socket(opened, server_hostname=self._config.host)
                    stack.pop_all()
        self._socket = opened
        return opened

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_closed(stream: socket.socket) -> bool:
    """Whether the repository has hung up: what is then sent would be lost without a word."""
    stream.settimeout(0)
    try:
        return stream.recv(1) == b""
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    finally:
        stream.settimeout(_CONNECT_SECONDS)


def _context(config: AuditConfig) -> ssl.SSLContext | None:
    if config.transport != "tls":
        return None
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
    except OSError as error:
        raise ConfigError(
            (f"console.audit: a certificate or key cannot be used: {error}",)
        ) from error
    return context
