"""What keeps the library's own data path within bounds, whatever a peer sends.

The library takes PDUs of any length, waits for each byte anew, keeps messages that nobody has
asked for yet, and ends without a word where a message makes no sense.  Nothing here knows what is
stored, or who may come.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.transport import AssociationSocket, RequestHandler

from dicomnode.log import get_logger

_P_DATA_TF: Final = 0x04
_A_P_ABORT: Final = bytes((0x07, 0, 0, 0, 0, 4, 0, 0, 2, 0))
"""From the service provider, reason not specified (PS3.8 9.3.8)."""
_INVALID_PARAMETER_VALUE: Final = 0x06
_PDU_TYPES: Final = range(0x01, 0x08)
_NO_PDU_TYPE: Final = b"\x00"
_HEADER_BYTES: Final = 6

_OTHER_PDU_BYTES: Final = 1 << 20
"""An A-ASSOCIATE-RQ with 128 presentation contexts has some 100 kB."""

_COMMAND_BYTES: Final = 1 << 16
_OTHER_DATA_SET_BYTES: Final = 1 << 24
"""Of anything but C-STORE; a storage commitment request for 20,000 instances has some 3 MB."""

MESSAGES_AHEAD: Final = 2
"""So many may wait to be served before no more are read."""

_CHUNK_BYTES: Final = 1 << 16
_DISCARD_SECONDS: Final = 1.0

_log = get_logger(__name__)


class GuardedHandler(RequestHandler):
    """Makes the library's associations with our guards around them."""

    def _create_association(self) -> Association:
        assoc = super()._create_association()
        guard(assoc, max_data_set_bytes=getattr(self.server, "max_data_set_bytes", None))
        return assoc


def guard(assoc: Association, *, max_data_set_bytes: int | None) -> None:
    """Put guards around an association that has not been started.

    Parameters
    ----------
    assoc : Association
    max_data_set_bytes : int, optional
        Of a C-STORE.  What is longer reaches the handler one byte longer than that, so that the
        handler can tell, and is not held.
    """
    connection = assoc.dul.socket
    if type(connection) is AssociationSocket:
        # It is made within a method of the library that has too much else to do to be replaced.
        connection.__class__ = GuardedSocket
    machine: Any = assoc.dul.state_machine
    machine.do_action = _tolerant(assoc, machine.do_action)
    messages = _GuardedMessages(assoc, max_data_set_bytes)
    dimse: Any = assoc.dimse
    dimse.receive_primitive = messages.receive
    acse: Any = assoc.acse
    acse.negotiate_association = _aborting(assoc, acse.negotiate_association)


def _aborting(assoc: Association, negotiate: Callable[[], None]) -> Callable[[], None]:
    """Return what negotiates, and aborts where the library cannot.

    It knows no answer to a presentation context without abstract syntax, and would end its thread
    by an exception.
    """

    def act() -> None:
        try:
            negotiate()
        except Exception as error:  # noqa: BLE001 - see above
            _log.info(
                "association_cannot_go_on",
                host=assoc.requestor.address,
                event_name="negotiation",
                error=type(error).__name__,
            )
            assoc.acse.send_ap_abort(_INVALID_PARAMETER_VALUE)
            assoc.kill()

    return act


def _tolerant(assoc: Association, do_action: Callable[[str], None]) -> Callable[[str], None]:
    """Return what does an action, and aborts where the library cannot.

    It knows no action where a peer aborts while our answer is on its way, and fails in one for
    an A-ABORT whose fields make no sense.  It then ends its thread by an exception and leaves the
    socket to the garbage collector.
    """

    def act(event: str) -> None:
        try:
            do_action(event)
        except Exception as error:  # noqa: BLE001 - see above
            _log.info(
                "association_cannot_go_on",
                host=assoc.requestor.address,
                event_name=event,
                error=type(error).__name__,
            )
            assoc.dul.kill_dul()
            if assoc.dul.socket is not None:
                assoc.dul.socket.send(_A_P_ABORT)
                assoc.dul.socket.close()

    return act


class GuardedSocket(AssociationSocket):
    """A socket that gives PDUs up that are too long or too long on their way."""

    _is_body_next = False
    _is_given_up = False
    _deadline = 0.0

    @property
    def ready(self) -> bool:
        """Whether there is something to read that somebody waits for.

        A peer that sends requests without waiting for answers is read no faster than it is served.
        """
        is_busy = self.assoc.dimse.msg_queue.qsize() >= MESSAGES_AHEAD
        return not is_busy and bool(super().ready)

    def give_up(self) -> None:
        """Take nothing more for a PDU: what comes is read and dropped."""
        self._is_given_up = True

    def recv(self, nr_bytes: int) -> bytearray:
        """Read a PDU's header or its body: the library asks for them in turn."""
        if self._is_given_up:
            self._discard()
            return bytearray()
        if self._is_body_next:
            self._is_body_next = False
            return self._read(nr_bytes)
        self._deadline = time.monotonic() + (self.seconds_for_a_pdu or 0.0)
        header = self._read(nr_bytes)
        if len(header) < _HEADER_BYTES or header[0] not in _PDU_TYPES:
            self._is_given_up = True
            return header
        length = int.from_bytes(header[2:6], "big")
        if length > self._longest(header[0]):
            _log.warning(
                "pdu_too_long", host=self.assoc.requestor.address, type=header[0], length=length
            )
            self._is_given_up = True
            # The library answers what is no type of PDU with A-P-ABORT (PS3.8 9.2, Evt19).
            return bytearray(_NO_PDU_TYPE + header[1:])
        self._is_body_next = True
        return header

    def _longest(self, kind: int) -> int:
        if kind == _P_DATA_TF:
            return int(self.assoc.acceptor.maximum_length or _OTHER_PDU_BYTES)
        return _OTHER_PDU_BYTES

    @property
    def seconds_for_a_pdu(self) -> float | None:
        """How long a PDU may take from its first byte to its last."""
        is_new = self.assoc.dul.state_machine.current_state == "Sta2"
        return self.assoc.acse_timeout if is_new else self.assoc.network_timeout

    def _read(self, count: int) -> bytearray:
        """Read so many bytes, fewer only where the connection ends.

        Raises
        ------
        TimeoutError
            If the PDU is not whole in time, however steadily its bytes come.
        """
        content = bytearray()
        connection = self.socket
        if connection is None:
            return content
        before = connection.gettimeout()
        try:
            while len(content) < count:
                left = self._deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the PDU was not whole in time")
                connection.settimeout(left)
                chunk = connection.recv(min(count - len(content), _CHUNK_BYTES))
                if not chunk:
                    break
                content += chunk
        finally:
            with contextlib.suppress(OSError):  # closed meanwhile
                connection.settimeout(before)
        return content

    def _discard(self) -> None:
        """Read what a peer goes on sending, so that our A-ABORT is not lost with it."""
        connection = self.socket
        if connection is None:
            return
        end = time.monotonic() + _DISCARD_SECONDS
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                if not connection.recv(_CHUNK_BYTES):
                    return


class _GuardedMessages:
    """Gives fragments to the library's DIMSE service provider, and no more than it can hold."""

    def __init__(self, assoc: Association, max_data_set_bytes: int | None) -> None:
        self._assoc = assoc
        self._max_data_set_bytes = max_data_set_bytes
        self._receive = assoc.dimse.receive_primitive
        self._command_bytes = 0
        self._data_set_bytes = 0

    def receive(self, primitive: P_DATA) -> None:
        """Take a P-DATA primitive; what makes no sense ends the association by A-P-ABORT."""
        try:
            for context_id, value in primitive.presentation_data_value_list:
                self._take(context_id, value)
        except Exception as error:  # noqa: BLE001 - it would end the library's thread, and no more
            _log.warning(
                "message_not_understood",
                host=self._assoc.requestor.address,
                error=type(error).__name__,
            )
            self._assoc.dul.event_queue.put("Evt19")

    def _take(self, context_id: int, value: bytes) -> None:
        control, length = value[0], len(value) - 1
        if control & 0x01:
            self._command_bytes += length
            if self._command_bytes > _COMMAND_BYTES:
                raise ValueError("the command is too long")
        else:
            value = self._trimmed(value, length)
            self._data_set_bytes += length
        if control & 0x02:
            if control & 0x01:
                self._command_bytes = 0
            else:
                self._data_set_bytes = 0
        one: Any = P_DATA()
        one.presentation_data_value_list = [[context_id, value]]  # a list, though typed a tuple
        self._receive(one)

    def _trimmed(self, value: bytes, length: int) -> bytes:
        if not isinstance(self._assoc.dimse.message, C_STORE_RQ):
            if self._data_set_bytes + length > _OTHER_DATA_SET_BYTES:
                raise ValueError("the data set is too long for anything but C-STORE")
            return value
        most = self._max_data_set_bytes
        if most is None:
            return value
        # One byte over the limit is kept, so that who stores it sees that there was more.
        room = most + 1 - self._data_set_bytes
        return value if length <= room else value[: 1 + max(room, 0)]
