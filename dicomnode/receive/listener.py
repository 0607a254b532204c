"""The library's association server, set up for many PDUs and hostile peers.  No policy here."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Sequence
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.presentation import build_context
from pynetdicom.transport import RequestHandler, ThreadedAssociationServer

from dicomnode.log import get_logger
from dicomnode.metrics import ASSOCIATIONS
from dicomnode.standard.sop_classes import VERIFICATION

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
    on_poll : callable
        Called every so often by the thread that accepts.

    Raises
    ------
    OSError
        If the address cannot be listened on.
    """

    request_queue_size = 128

    def __init__(
        self,
        ae: AE,
        address: tuple[str, int],
        *,
        handlers: Sequence[Any],
        max_connections: int,
        request_handler: type[RequestHandler] | None = None,
        on_poll: Callable[[], None] = lambda: None,
    ) -> None:
        self._max_connections = max_connections
        self._on_poll = on_poll
        super().__init__(
            ae,
            address,
            ae.ae_title,
            [build_context(VERIFICATION)],
            evt_handlers=[*handlers, (evt.EVT_DATA_RECV, _acknowledge_at_once)],
            request_handler=request_handler,
        )
        # The library's shutdown takes its server off this list.
        ae._servers.append(self)  # noqa: SLF001 - only its own start_server would do it

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
        if len(self.active_associations) < self._max_connections:
            return True
        ASSOCIATIONS.labels("rejected").inc()
        _log.warning("connection_closed", host=client_address[0], limit=self._max_connections)
        return False

    def service_actions(self) -> None:
        """Do what is due between two connections."""
        super().service_actions()
        self._on_poll()


class _Connection(socket.socket):
    """A socket that can be shut down twice: the library never closes one that refuses."""

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
