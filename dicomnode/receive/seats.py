"""How many associations are open, in this process or in several behind one port.

Counts only; what follows from them, `admission` decides.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

_SEAT_BYTES: Final = 16
_FREE: Final = bytes(_SEAT_BYTES)


class Seats(Protocol):
    """One seat for each open association."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody count or take a seat for as long as the block runs, in any process."""
        yield

    def count(self, host: str) -> tuple[int, int]:
        """Return how many are taken, and how many of these by peers at `host`."""

    def take(self, host: str) -> int:
        """Take one; return its number."""

    def leave(self, seat: int) -> None:
        """Give one back."""


class OwnSeats:
    """Those of a process that receives alone."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._hosts: dict[int, str] = {}
        self._number = 0

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Seats`."""
        with self._lock:
            yield

    def count(self, host: str) -> tuple[int, int]:
        """See `Seats`."""
        with self._lock:
            return len(self._hosts), Counter(self._hosts.values())[host]

    def take(self, host: str) -> int:
        """See `Seats`."""
        with self._lock:
            self._number += 1
            self._hosts[self._number] = host
            return self._number

    def leave(self, seat: int) -> None:
        """See `Seats`."""
        with self._lock:
            del self._hosts[seat]


class SharedSeats:
    """Those of several processes, in memory that they share.

    A seat holds the process it belongs to and a digest of the peer's address.  The lock is one
    that the kernel takes back when its holder dies; the seats of a process that died are given
    back by whoever started it.

    Parameters
    ----------
    descriptor : int
        Of a file in memory as `create` makes it; it is closed with this object.
    process : int
        Number of this process among those that share, from 1.
    """

    def __init__(self, descriptor: int, process: int) -> None:
        self.descriptor = descriptor
        self._mark = process.to_bytes(2, "big")
        self._lock = threading.RLock()
        self._depth = 0
        self._memory = mmap.mmap(descriptor, os.fstat(descriptor).st_size)

    @staticmethod
    def create(count: int) -> int:
        """Make the memory for so many seats; return its descriptor, which children may be given.

        It must be as many as are ever taken at the same time.
        """
        descriptor = os.memfd_create("dicomnode-associations", os.MFD_CLOEXEC)
        os.ftruncate(descriptor, count * _SEAT_BYTES)
        return descriptor

    def close(self) -> None:
        """Give the memory back; the others keep theirs."""
        self._memory.close()
        os.close(self.descriptor)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See `Seats`."""
        # The kernel's lock is the process's, so its threads need one of their own.
        with self._lock:
            if self._depth == 0:
                fcntl.lockf(self.descriptor, fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    fcntl.lockf(self.descriptor, fcntl.LOCK_UN)

    def count(self, host: str) -> tuple[int, int]:
        """See `Seats`."""
        wanted = _digest(host)
        with self.alone():
            taken = [seat for _, seat in self._all() if seat != _FREE]
        return len(taken), sum(seat[2:] == wanted for seat in taken)

    def take(self, host: str) -> int:
        """See `Seats`."""
        with self.alone():
            number = next(number for number, seat in self._all() if seat == _FREE)
            self._put(number, self._mark + _digest(host))
        return number

    def leave(self, seat: int) -> None:
        """See `Seats`."""
        with self.alone():
            self._put(seat, _FREE)

    def clear(self, process: int) -> int:
        """Give back all seats of a process that died; return how many it had."""
        mark = process.to_bytes(2, "big")
        with self.alone():
            left = [number for number, seat in self._all() if seat[:2] == mark]
            for number in left:
                self._put(number, _FREE)
        return len(left)

    def _all(self) -> Iterator[tuple[int, bytes]]:
        for number in range(len(self._memory) // _SEAT_BYTES):
            begin = number * _SEAT_BYTES
            yield number, self._memory[begin : begin + _SEAT_BYTES]

    def _put(self, number: int, seat: bytes) -> None:
        begin = number * _SEAT_BYTES
        self._memory[begin : begin + _SEAT_BYTES] = seat


def _digest(host: str) -> bytes:
    return hashlib.sha256(host.encode()).digest()[: _SEAT_BYTES - 2]
