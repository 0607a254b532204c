"""The library's association server, set up for many PDUs and hostile peers.  No policy here."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from dicomnode.log import get_logger
from dicomnode.metrics import ASSOCIATIONS, REJECTIONS
from dicomnode.receive.guard import GuardedHandler
from dicomnode.receive.recurring import Recurring
from dicomnode.standard.sop_classes import VERIFICATION
from dicomnode.tls import ServerContexts, describe_failure

# The library's own handlers format every message for its debug log, data set included.
_config.LOG_HANDLER_LEVEL = "none"

_log = get_logger(__name__)


class Listener(ThreadedAssociationServer):
    """A bound and listening socket; each association gets threads of its own.

    Parameters
    ----------
    ae : AE
        With its time-outs and limits set.
    address : (str, int)
        Host and port; port 0 takes a free one.
    handlers : sequence
        Events of the library and who is told.  One of `EVT_REQUESTED` sets the presentation
        contexts: only Verification is supported without.
    max_connections : int
        Further connections are closed before anything is read from them.
    request_handler : type, optional
        Makes the associations; the library's by default.
    max_connections_per_peer : int, optional
        The same for those from one address; no limit by default.
    max_data_set_bytes : int, optional
        Of a C-STORE-RQ; of a longer one this much and a byte is handed on.
    tls : ServerContexts, optional
        Without it connections are in the clear.
    listening : socket.socket, optional
        One that listens already, which other processes may accept on as well: then `address` is
        where it does.
    on_poll : callable
        Called every so often by the thread that accepts.

    Raises
    ------
    OSError
        If the address cannot be listened on.
    """

    request_queue_size = 128
    # A handshake that nobody goes on with must not hold up the end.
    daemon_threads = True

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        *,
        handlers: Sequence[Any],
        max_connections: int,
        request_handler: type[RequestHandler] | None = None,
        max_connections_per_peer: int | None = None,
        max_data_set_bytes: int | None = None,
        tls: ServerContexts | None = None,
        listening: socket.socket | None = None,
        on_poll: Callable[[], None] = lambda: None,
    ) -> None:
        self._max_connections = max_connections
        self._max_connections_per_peer = max_connections_per_peer or max_connections
        self.max_data_set_bytes = max_data_set_bytes
        self._tls = tls
        self._listening = listening
        self._shaking: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._refusals = Recurring()
        self._on_poll = on_poll
        super().__init__(
            ae,
            address,
            ae.ae_title,
            [build_context(VERIFICATION)],
            evt_handlers=[*handlers, (evt.EVT_DATA_RECV, _acknowledge_at_once)],
            request_handler=request_handler or GuardedHandler,
        )
        # The library's shutdown takes its server off this list.
        ae._servers.append(self)  # noqa: SLF001 - only its own start_server would do it

    def server_bind(self) -> None:
        """Bind; or take the socket that listens already in place of the one to be bound."""
        listening = self._listening
        if listening is None:
            super().server_bind()
            return
        if self.socket is not None:
            self.socket.close()
        # Another process may be faster: then there is nothing to accept, and nothing to wait for.
        listening.setblocking(False)
        self.socket = listening
        self.server_address = listening.getsockname()

    def server_close(self) -> None:
        """Close the socket; one that others accept on as well is left to them."""
        if self._listening is None:
            super().server_close()
        else:
            self._listening.close()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept a connection."""
        accepted, address = super().get_request()
        connection = _Connection(fileno=accepted.detach())
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Without it a peer that stops within a PDU would hold two threads for ever.
        connection.settimeout(self.ae.network_timeout)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - its shape
        """Close at once what would be one connection too many."""
        host = client_address[0]
        with self._lock:
            here, shaking = self._shaking[host], self._shaking.total()
        associations = self.active_associations
        here += sum(1 for each in associations if each.requestor.address == host)
        if len(associations) + shaking >= self._max_connections:
            limit = self._max_connections
        elif here >= self._max_connections_per_peer:
            limit = self._max_connections_per_peer
        else:
            return True
        ASSOCIATIONS.labels("rejected").inc()
        REJECTIONS.labels("too_many_connections").inc()
        if (unsaid := self._refusals.ask(host)) is not None:
            _log.warning("connection_closed", host=host, limit=limit, unsaid=unsaid)
        return False

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, in a thread of its own; with TLS shake hands first."""
        if self._tls is not None:
            request = self._shake_hands(request, client_address[0], self._tls)
        if request is not None:
            super().finish_request(request, client_address)

    def _shake_hands(
        self, connection: socket.socket, host: str, contexts: ServerContexts
    ) -> ssl.SSLSocket | None:
        with self._lock:
            self._shaking[host] += 1
        secure: ssl.SSLSocket | None = None
        try:
            context = contexts.current()
            context.sslsocket_class = _SecureConnection
            secure = context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
            # One deadline for the whole handshake, however slowly its bytes come.
            secure.settimeout(self.ae.acse_timeout)
            secure.do_handshake()
            secure.settimeout(self.ae.network_timeout)
        except OSError as error:
            (secure or connection).close()
            ASSOCIATIONS.labels("rejected").inc()
            REJECTIONS.labels("tls_handshake").inc()
            if (unsaid := self._refusals.ask(host)) is not None:
                reason = describe_failure(error)
                _log.warning("tls_handshake_failed", host=host, reason=reason, unsaid=unsaid)
            return None
        finally:
            with self._lock:
                self._shaking[host] -= 1
                if not self._shaking[host]:
                    del self._shaking[host]
        return secure

    def service_actions(self) -> None:
        """Do what is due between two connections."""
        super().service_actions()
        self._on_poll()


class _Connection(socket.socket):
    """A socket that can be shut down twice: the library never closes one that refuses."""

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):  # the peer was faster
            super().shutdown(how)


class _SecureConnection(ssl.SSLSocket):
    """The same for a connection with TLS."""

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):  # the peer was faster
            super().shutdown(how)


def _acknowledge_at_once(event: evt.Event) -> None:
    """Turn delayed ACKs off again: the kernel turns them on by itself after a while.

    A sender with Nagle's algorithm, DCMTK among them, would wait for each up to 40 ms.
    """
    connection = event.assoc.dul.socket.socket if event.assoc.dul.socket else None
    if connection is not None and hasattr(socket, "TCP_QUICKACK"):
        with contextlib.suppress(OSError):  # closed meanwhile: the library will see it itself
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
