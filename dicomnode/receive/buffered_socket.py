"""The socket of an association with a read-ahead buffer.  What the bytes mean, others know."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
from typing import Final

from pynetdicom.association import Association

from dicomnode.receive.guard import GuardedSocket

LONGEST_WAIT_SECONDS: Final = 0.25
"""No read waits longer; timers of the library are looked at this often."""

_READ_BYTES: Final = 1 << 18
_TIMEVAL: Final = struct.Struct("@ll")


class BufferedSocket(GuardedSocket):
    """The library's socket with a read-ahead buffer, which all its readers share."""

    def __init__(self, assoc: Association, client_socket: socket.socket) -> None:
        super().__init__(assoc, client_socket=client_socket)
        self._buffer = bytearray(0)
        self._view = memoryview(self._buffer)
        self._begin = 0
        self._end = 0

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return self.has_ahead or bool(super().ready)

    def give_up(self) -> None:
        """Do so also with what has been read ahead."""
        super().give_up()
        self._begin = self._end

    def _read(self, count: int) -> bytearray:
        ahead = min(count, self._end - self._begin)
        taken = self._buffer[self._begin : self._begin + ahead]
        self._begin += ahead
        return taken + super()._read(count - ahead) if ahead < count else taken

    @property
    def has_ahead(self) -> bool:
        """Whether anything has been read and not consumed."""
        return self._begin < self._end

    @property
    def ahead(self) -> memoryview:
        """What has been read and not consumed; until the next read."""
        return self._view[self._begin : self._end]

    def consume(self, count: int) -> None:
        """Take note that so many bytes of `ahead` are done with."""
        self._begin += count

    def prepare(self) -> None:
        """Get ready for data: from now on reads wait for a while, and give up by themselves."""
        if self._buffer or self.socket is None:
            return
        self._buffer = bytearray(_READ_BYTES)
        self._view = memoryview(self._buffer)
        if isinstance(self.socket, ssl.SSLSocket):
            return
        # A socket with a time-out of the language's is asked twice for each read.  One with the
        # kernel's waits in the kernel, where a whole PDU can be waited for.
        seconds = self.socket.gettimeout() or LONGEST_WAIT_SECONDS
        self.socket.settimeout(None)
        for option, limit in (
            (socket.SO_RCVTIMEO, LONGEST_WAIT_SECONDS),
            (socket.SO_SNDTIMEO, seconds),
        ):
            value = _TIMEVAL.pack(int(limit), int(limit % 1 * 1_000_000))
            self.socket.setsockopt(socket.SOL_SOCKET, option, value)

    def fill(self, wanted: int, *, hold: bool = False) -> int:
        """Read what has come; 0 at the end of the connection.

        Parameters
        ----------
        wanted : int
            Wait for a while for so many bytes beyond those of `ahead`; 0 does not wait.
        hold : bool
            Read nothing for now.

        Raises
        ------
        BlockingIOError
            If nothing has come, or should be read.
        OSError
            If the connection broke.
        """
        if hold:
            raise BlockingIOError
        if self._begin == self._end:
            self._begin = self._end = 0
        elif self._begin:
            rest = self._end - self._begin
            self._buffer[:rest] = self._buffer[self._begin : self._end]
            self._begin, self._end = 0, rest
        connection = self.socket
        if connection is None:
            return 0
        room = self._view[self._end :]
        if isinstance(connection, ssl.SSLSocket):
            count = _read_tls(connection, room)
        elif wanted:
            count = connection.recv_into(room, min(wanted, len(room)), socket.MSG_WAITALL)
        else:
            count = connection.recv_into(room, 0, socket.MSG_DONTWAIT)
        self._end += count
        return count

    def acknowledge_at_once(self) -> None:
        """Turn delayed ACKs off: the kernel turns them on again by itself.

        A sender with Nagle's algorithm, DCMTK among them, would wait for each up to 40 ms.
        """
        if self.socket is not None:
            with contextlib.suppress(AttributeError, OSError):  # not Linux, or closed meanwhile
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _read_tls(connection: ssl.SSLSocket, room: memoryview) -> int:
    if not connection.pending():
        waiting = select.poll()
        waiting.register(connection, select.POLLIN)
        if not waiting.poll(0):
            raise BlockingIOError
    try:
        return connection.recv_into(room)
    except ssl.SSLWantReadError as error:
        raise BlockingIOError from error
