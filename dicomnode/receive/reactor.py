"""Associations whose C-STORE data goes from the socket to the spool without detours.

The library negotiates, keeps the state machine of PS3.8 9.2, answers every other service, releases
and aborts.  Its service provider's thread stays the only one that reads and writes the socket;
what is replaced is how that thread waits, and what it does with P-DATA once the association stands
(state 6).  So there is no hand-over, and nothing that the peer sends early can be lost in one.

The library polls: each of its two threads wakes a thousand times a second, and each PDU is copied
some six times on its way.  Here both threads sleep until there is something for them.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.events import EVT_ABORTED, EVT_RELEASED, trigger
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import RequestHandler

from dicomnode.log import get_logger
from dicomnode.receive.buffered_socket import LONGEST_WAIT_SECONDS, BufferedSocket
from dicomnode.receive.command import StoreRequestFields, encode_store_response
from dicomnode.receive.guard import MESSAGES_AHEAD, guard
from dicomnode.receive.pdata import (
    P_DATA_TF,
    PDU_HEADER,
    DataSetTaker,
    MessageStream,
    ProtocolFault,
)
from dicomnode.receive.store import Reception, StoreCommand

_OTHER_PDU_BYTES: Final = 1 << 20

BeginStore = Callable[[Association, StoreCommand], Reception]
"""Told of each C-STORE-RQ, from the thread of its association."""

_log = get_logger(__name__)


def request_handler(begin_store: BeginStore) -> type[RequestHandler]:
    """Return the class whose instances make our associations for the library's server."""

    class Handler(RequestHandler):
        def _create_association(self) -> Association:
            return _create(self, begin_store)

    return Handler


def _create(handler: RequestHandler, begin_store: BeginStore) -> Association:
    """Do as the library's method, with our classes."""
    server: Any = handler.server
    assoc = StreamingAssociation(handler.ae, begin_store)
    assoc._server = server  # noqa: SLF001 - this whole function stands in for a method of its own
    assoc.name = f"AcceptorThread@{datetime.now(UTC):%Y%m%d%H%M%S}"
    assoc.set_socket(BufferedSocket(assoc, client_socket=handler.request))
    assoc.acceptor.maximum_length = handler.ae.maximum_pdu_size
    assoc.acceptor.ae_title = server.ae_title
    assoc.acceptor.address_info = handler.local
    assoc.acceptor.implementation_class_uid = handler.ae.implementation_class_uid
    assoc.acceptor.implementation_version_name = handler.ae.implementation_version_name
    assoc.acceptor.supported_contexts = server.contexts
    assoc.requestor.address_info = handler.remote
    for event, bound in server._handlers.items():  # noqa: SLF001 - as above
        if event.is_intervention:
            if bound:
                assoc.bind(event, *bound)
        else:
            for function, arguments in bound:
                assoc.bind(event, function, arguments)
    guard(assoc, max_data_set_bytes=None)  # none comes to the library
    return assoc


class StreamingAssociation(Association):
    """An association that sleeps until its service provider has something for it.

    Parameters
    ----------
    ae : ApplicationEntity
    begin_store : callable
    """

    def __init__(self, ae: ApplicationEntity, begin_store: BeginStore) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self._look = threading.Event()
        self.provider = _Provider(self, begin_store)
        self.dul = self.provider
        # Both lie in the provider, which was another one when they were set.
        self.acse_timeout = self.acse_timeout
        self.network_timeout = self.network_timeout

    @property
    def is_behind(self) -> bool:
        """Whether enough messages wait to be served; C-STORE never waits here."""
        return len(self.dimse.msg_queue.queue) >= MESSAGES_AHEAD

    def look(self) -> None:
        """Let the association's thread see what came."""
        self._look.set()

    def run_reactor(self) -> None:
        """Do as the library; the thread ends when both of the association's have."""
        super().run_reactor()
        # Whoever finds this thread dead takes the association for ended: no store may go on.
        self.provider.kill_dul()
        if self.provider.ident is not None:
            self.provider.join()

    def _run_reactor(self) -> None:
        """Do as the library's method of this name, without polling."""
        while not self._kill:
            self._is_paused = True
            self._look.wait(LONGEST_WAIT_SECONDS)
            self._reactor_checkpoint.wait()
            self._is_paused = False
            self._look.clear()
            self._serve_messages()
            if self.is_established and self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self.is_released = True
                self.is_established = False
                trigger(self, EVT_RELEASED, {})
            elif self.acse.is_aborted():
                self.dul.receive_pdu(wait=False)
                self.is_aborted = True
                self.is_established = False
                trigger(self, EVT_ABORTED, {})
            elif not self.dul.is_alive():
                pass
            elif self.dul.idle_timer_expired() and not self.provider.is_busy:
                _log.warning("association_idle", seconds=self.network_timeout)
                self.abort()
            else:
                continue
            self.kill()

    def _serve_messages(self) -> None:
        while not self._kill:
            context_id, message = self.dimse.get_msg(block=False)
            if message is None or context_id is None:
                return
            self._serve_request(message, context_id)


class _Provider(DULServiceProvider):
    """The library's upper layer service provider, waiting and reading in our way."""

    def __init__(self, assoc: StreamingAssociation, begin_store: BeginStore) -> None:
        super().__init__(assoc)
        self._association = assoc
        self._begin_store = begin_store
        self._messages: MessageStream | None = None
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self.is_busy = False
        self._pdu_deadline = (-1, 0.0)
        self._told_alive_at = 0.0
        self._waiting = select.poll()
        self._waiting.register(self._ear, select.POLLIN)
        self._waited_for: int | None = None

    def run_reactor(self) -> None:
        """Do as the library; leave nothing behind at the end."""
        try:
            super().run_reactor()
        finally:
            if self._messages is not None:
                self._messages.abandon()
            self._association.look()
            self._bell.close()
            self._ear.close()

    def send_pdu(self, primitive: Any) -> None:
        """Queue a primitive, and wake the thread that sends it."""
        super().send_pdu(primitive)
        self._ring()

    def kill_dul(self) -> None:
        """End the thread, promptly."""
        super().kill_dul()
        self._ring()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # rung often enough, or the thread has ended
            self._bell.send(b"\x00")

    def _is_transport_event(self) -> bool:
        """Wait for something to happen, and take in what came.

        The library's thread calls this method whenever there is nothing to send, and looks at its
        timers and its queue of events afterwards.
        """
        self._association.look()
        if not self.event_queue.empty() or self._kill_thread:
            return False
        state = self.state_machine.current_state
        if state == "Sta13":
            return bool(super()._is_transport_event())
        if state == "Sta6":
            return self._take_in()
        if isinstance(self.socket, BufferedSocket) and self.socket.ready:
            return bool(super()._is_transport_event())
        self._wait()
        return bool(super()._is_transport_event())

    def _check_pace(self, source: BufferedSocket, messages: MessageStream) -> None:
        """Give a peer up whose PDU is not whole in time, however steadily its bytes come."""
        if messages.is_between_pdus and not source.has_ahead:
            self._pdu_deadline = (-1, 0.0)
            return
        number, deadline = self._pdu_deadline
        if number != messages.pdus_begun:
            seconds = source.seconds_for_a_pdu
            until = float("inf") if seconds is None else time.monotonic() + seconds
            self._pdu_deadline = (messages.pdus_begun, until)
        elif time.monotonic() > deadline:
            raise TimeoutError("the PDU was not whole in time")

    def _tell_alive(self) -> None:
        """Start the idle timer anew; not for each read, since it need not be so exact."""
        now = time.monotonic()
        if now - self._told_alive_at > LONGEST_WAIT_SECONDS:
            self._told_alive_at = now
            self._idle_timer.restart()

    def _wait(self, *, for_data: bool = True) -> bool:
        """Wait for data or the bell, or for a while; say whether there is data."""
        connection = self.socket.socket if self.socket and for_data else None
        descriptor = -1 if connection is None else connection.fileno()
        self._wait_for(None if descriptor < 0 else descriptor)
        is_there = False
        for found, _ in self._waiting.poll(LONGEST_WAIT_SECONDS * 1000):
            if found == descriptor:
                is_there = True
            else:
                with contextlib.suppress(BlockingIOError):
                    self._ear.recv(4096)
        return is_there

    def _wait_for(self, descriptor: int | None) -> None:
        """Let the next `_wait` look at this one beside the bell."""
        if self._waited_for != descriptor:
            if self._waited_for is not None:
                self._waiting.unregister(self._waited_for)
            if descriptor is not None:
                self._waiting.register(descriptor, select.POLLIN)
            self._waited_for = descriptor

    def _take_in(self) -> bool:  # noqa: PLR0911 - each end of the loop has its own reason
        """Read until there is something for the library to do: an event, a PDU, a primitive."""
        if not isinstance(self.socket, BufferedSocket):
            return False
        self.socket.prepare()
        messages = self._stream()
        while True:
            try:
                if self._take_ahead(self.socket, messages):
                    return True
                self._check_pace(self.socket, messages)
                if not self.socket.fill(messages.bytes_to_come, hold=self._association.is_behind):
                    self.event_queue.put("Evt17")
                    return True
                self._tell_alive()
            except BlockingIOError:
                if not self.to_provider_queue.empty() or self._kill_thread:
                    return False
                self.socket.acknowledge_at_once()
                if not self._wait(for_data=not self._association.is_behind):
                    return False
            except ProtocolFault as fault:
                _log.warning("association_invalid_pdu", host=self._host, reason=str(fault))
                self.socket.give_up()
                self.event_queue.put("Evt19")
                return True
            except OSError as error:
                _log.warning("association_connection_lost", host=self._host, reason=str(error))
                self.event_queue.put("Evt17")
                return True

    def _take_ahead(self, source: BufferedSocket, messages: MessageStream) -> bool:
        """Consume what was read; say whether the library has something to do now."""
        while True:
            # Storing may take longer than a peer may be silent, and that is not the peer's fault.
            self.is_busy = True
            source.consume(messages.take(source.ahead))
            self.is_busy = False
            if self.event_queue.queue or self._kill_thread:
                return True
            if not messages.is_between_pdus or not source.has_ahead:
                return False
            ahead = source.ahead
            if len(ahead) < PDU_HEADER.size:
                return False
            kind, _, length = PDU_HEADER.unpack_from(ahead)
            if kind != P_DATA_TF:
                if length > _OTHER_PDU_BYTES:
                    raise ProtocolFault(f"a PDU of type {kind:02X}H with {length} bytes")
                self._read_pdu_data()
                return True

    @property
    def _host(self) -> str:
        return str(self.assoc.requestor.address)

    def _stream(self) -> MessageStream:
        if self._messages is None:
            self._messages = MessageStream(
                max_pdu_bytes=self.assoc.acceptor.maximum_length or 0,
                contexts={each.context_id or 0: each for each in self.assoc.accepted_contexts},
                user=self,
            )
        return self._messages

    # -- what the stream of messages tells

    def begin_store(self, context_id: int, request: StoreRequestFields) -> DataSetTaker:
        """Return who takes the data set."""
        context = self.assoc._accepted_cx[context_id]  # noqa: SLF001 - a list otherwise
        return self._begin_store(
            self.assoc,
            StoreCommand(
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                context_sop_class_uid=str(context.abstract_syntax),
                transfer_syntax_uid=str(context.transfer_syntax[0]),
            ),
        )

    def end_store(self, context_id: int, request: StoreRequestFields, status: int) -> None:
        """Send the C-STORE-RSP, in PDUs as small as the peer wants them."""
        command = encode_store_response(request, status)
        longest = (self.assoc.requestor.maximum_length or len(command) + 6) - 6
        for begin in range(0, len(command), longest):
            part = command[begin : begin + longest]
            last = 0x02 if begin + longest >= len(command) else 0x00
            item = (len(part) + 2).to_bytes(4, "big") + bytes((context_id, 0x01 | last)) + part
            if self.socket is not None:
                self.socket.send(PDU_HEADER.pack(P_DATA_TF, 0, len(item)) + item)
        self._idle_timer.restart()

    def pass_on(self, context_id: int, control: int, fragment: bytes) -> None:
        """Give a fragment of any other message to the library's DIMSE service provider."""
        primitive = P_DATA()
        # Lists within it, as the library's own decoder makes; it refuses the tuples it declares.
        values: list[Any] = [[context_id, bytes((control,)) + fragment]]
        primitive.presentation_data_value_list = values
        self.assoc.dimse.receive_primitive(primitive)
        self._association.look()
