"""P-DATA-TF PDUs taken apart as they come: C-STORE data sets go straight on, the rest is collected.

Bytes in, calls out (PS3.8 9.3.5, annex E; PS3.7 6.3.1).  No socket, no library, no file here.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final, Protocol

from dicomnode.receive.command import (
    Command,
    CommandInvalid,
    StoreRequestFields,
    decode_command,
)

P_DATA_TF: Final = 0x04
PDU_HEADER: Final = struct.Struct(">BBL")
_FRAGMENT_HEADER: Final = struct.Struct(">LBB")
_IS_COMMAND: Final = 0x01
_IS_LAST: Final = 0x02

_COMMAND_BYTES: Final = 1 << 16
"""More than any command set has; a peer must not fill the memory with one."""

_OTHER_BYTES: Final = 1 << 24
"""The same for the data set of any other message than C-STORE, which the library takes whole."""


class ProtocolFault(Exception):
    """What came is no P-DATA-TF, or none that may come now: the association is to be aborted."""


class DataSetTaker(Protocol):
    """Takes one data set; its chunks are valid during the call only."""

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes."""

    def finish(self) -> int:
        """Take note that it was all and return the status to answer with."""

    def abandon(self) -> None:
        """Take note that the rest will not come."""


class MessageUser(Protocol):
    """Whoever is told of messages."""

    def begin_store(self, context_id: int, request: StoreRequestFields) -> DataSetTaker:
        """Return who takes the data set of this C-STORE-RQ."""

    def end_store(self, context_id: int, request: StoreRequestFields, status: int) -> None:
        """Answer it."""

    def pass_on(self, context_id: int, control: int, fragment: bytes) -> None:
        """Take a fragment of any other message, with its message control header."""


class MessageStream:
    """Follows the messages of one association.

    Parameters
    ----------
    max_pdu_bytes : int
        The maximum length that we told the peer (PS3.8 D.1); 0 for none.
    contexts : collection of int
        Identifiers of the accepted presentation contexts.
    user : MessageUser

    Attributes
    ----------
    pdus_begun : int
        P-DATA-TF PDUs whose header has come.
    """

    def __init__(
        self, *, max_pdu_bytes: int, contexts: Mapping[int, object], user: MessageUser
    ) -> None:
        self._max_pdu_bytes = max_pdu_bytes
        self._contexts = contexts
        self._user = user
        self._pdu_left = 0
        self._fragment_left = 0
        self._control = 0
        self.pdus_begun = 0
        # The message that is coming: first its command, then perhaps its data set.
        self._context_id: int | None = None
        self._collected = bytearray()
        self._command: Command | None = None
        self._passed_on = 0
        self._taker: DataSetTaker | None = None

    def take(self, data: memoryview) -> int:
        """Consume what has come, as far as it goes.

        Parameters
        ----------
        data : memoryview of bytes
            Begins with what the last call left.

        Returns
        -------
        int
            How many bytes were consumed.  The rest is either an incomplete header or begins with
            a PDU of another type, for the library: `is_between_pdus` says whether it may be one.

        Raises
        ------
        ProtocolFault
            If the association cannot go on.
        """
        position, end = 0, len(data)
        while True:
            if self._fragment_left:
                if position == end:
                    return position
                begin = position
                position = min(end, begin + self._fragment_left)
                self._consume(data[begin:position])
            elif end - position < PDU_HEADER.size:
                # Both headers are of one size.
                return position
            elif self._pdu_left:
                self._begin_fragment(*_FRAGMENT_HEADER.unpack_from(data, position))
                position += _FRAGMENT_HEADER.size
            else:
                kind, _, length = PDU_HEADER.unpack_from(data, position)
                if kind != P_DATA_TF:
                    return position
                self._begin_pdu(length)
                position += PDU_HEADER.size

    @property
    def is_between_pdus(self) -> bool:
        """Whether the next byte begins a PDU."""
        return not self._pdu_left

    @property
    def bytes_to_come(self) -> int:
        """How many bytes the peer must send before it may wait for us; 0 if that is not known."""
        if self._taker is None or not self._fragment_left:
            return 0
        if self._control & _IS_LAST:
            return self._fragment_left
        # What follows has a header at least, and where the PDU ends two of them.
        headers = _FRAGMENT_HEADER.size
        if self._pdu_left == self._fragment_left:
            headers += PDU_HEADER.size
        return self._fragment_left + headers

    def abandon(self) -> None:
        """Let a data set that will not come to its end be forgotten."""
        taker, self._taker = self._taker, None
        if taker is not None:
            taker.abandon()

    def _begin_pdu(self, length: int) -> None:
        if length < _FRAGMENT_HEADER.size:
            raise ProtocolFault(f"a P-DATA-TF PDU of {length} bytes holds no fragment")
        if self._max_pdu_bytes and length > self._max_pdu_bytes:
            raise ProtocolFault(
                f"wanted P-DATA-TF PDUs of at most {self._max_pdu_bytes} bytes, found {length}"
            )
        self._pdu_left = length
        self.pdus_begun += 1

    def _begin_fragment(self, length: int, context_id: int, control: int) -> None:
        # The item's length counts context and control, and not itself (PS3.8 9.3.5.1).
        if length < 2 or length + 4 > self._pdu_left:
            raise ProtocolFault(
                f"a fragment of {length} bytes in the remaining {self._pdu_left} of its PDU"
            )
        if context_id not in self._contexts:
            raise ProtocolFault(f"presentation context {context_id} was not accepted")
        if self._context_id is None:
            if not control & _IS_COMMAND:
                raise ProtocolFault("a data set fragment without a command")
            self._context_id = context_id
        elif context_id != self._context_id:
            raise ProtocolFault(
                f"wanted the rest of a message in presentation context {self._context_id}, "
                f"found {context_id}"
            )
        elif bool(control & _IS_COMMAND) == (self._command is not None):
            raise ProtocolFault("command and data set fragments are mixed")
        self._control = control
        self._pdu_left -= _FRAGMENT_HEADER.size
        self._fragment_left = length - 2
        if self._pdu_left - self._fragment_left and (
            self._pdu_left - self._fragment_left < _FRAGMENT_HEADER.size
        ):
            raise ProtocolFault("a P-DATA-TF PDU with bytes that belong to no fragment")
        if not self._fragment_left:
            self._end_fragment()

    def _consume(self, chunk: memoryview) -> None:
        self._pdu_left -= len(chunk)
        self._fragment_left -= len(chunk)
        if self._taker is not None:
            self._taker.write(chunk)
        else:
            limit = _COMMAND_BYTES if self._command is None else _OTHER_BYTES
            if self._passed_on + len(self._collected) + len(chunk) > limit:
                raise ProtocolFault(f"a command, or a data set of no C-STORE, above {limit} bytes")
            self._collected += chunk
        if not self._fragment_left:
            self._end_fragment()

    def _end_fragment(self) -> None:
        is_last = bool(self._control & _IS_LAST)
        if self._command is None:
            if is_last:
                self._end_command()
            return
        if self._taker is None:
            self._pass_on(self._control)
        if is_last:
            self._end_message()

    def _end_command(self) -> None:
        context_id = self._current_context
        try:
            command = decode_command(self._collected)
        except CommandInvalid as error:
            raise ProtocolFault(f"no command set: {error}") from error
        self._command = command
        if command.store is None:
            self._pass_on(_IS_COMMAND | _IS_LAST)
        else:
            self._collected.clear()
            self._taker = self._user.begin_store(context_id, command.store)
        if not command.has_data_set:
            self._end_message()

    def _pass_on(self, control: int) -> None:
        self._passed_on += len(self._collected) if not control & _IS_COMMAND else 0
        self._user.pass_on(self._current_context, control, bytes(self._collected))
        self._collected.clear()

    def _end_message(self) -> None:
        context_id, command, taker = self._current_context, self._command, self._taker
        self._context_id = self._command = self._taker = None
        self._passed_on = 0
        if command is not None and command.store is not None and taker is not None:
            self._user.end_store(context_id, command.store, taker.finish())

    @property
    def _current_context(self) -> int:
        if self._context_id is None:
            raise ProtocolFault("a fragment of no message")
        return self._context_id
