"""Seats at the models of an inference server that several workers ask, held as leases.

A seat is freed by the death of its holder, as a lease is.  Who is next within a process is
`inference.turns`'.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable
from typing import Final, TypeVar

from dicomnode.database import Database, is_away
from dicomnode.errors import StateError
from dicomnode.inference.channel import is_loopback
from dicomnode.leases import Leases, open_leases
from dicomnode.log import get_logger

_DIGEST_CHARACTERS: Final = 16

_log = get_logger("inference")
_Answer = TypeVar("_Answer")


class LeasedSeats:
    """Seats at the models of one server, shared by all processes on a database.  Thread-safe.

    Beside the seats of a model stands one more lease: the place at the head of the queue for
    them.  Who asks for a seat must hold it until there is one, so that a process whose calls follow
    each other at once does not keep the others out.

    Parameters
    ----------
    leases : Leases
        Of its own: what it holds is given back by `close`.
    server : str
        Says which server it is, the same in all processes.
    """

    def __init__(self, leases: Leases, server: str) -> None:
        self._leases = leases
        self._server = server
        # One session's connection is for one thread at a time.
        self._lock = threading.Lock()
        self._heads: dict[str, str] = {}
        self._is_closed = False

    def take(self, model: str, limit: int) -> str | None:
        """Take one of `limit` seats if one is free; else stand in the queue for it.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            If the database is away.
        """
        with self._lock:
            if self._is_closed:
                return None
            return self._insist(lambda: self._take(model, limit))

    def leave(self, model: str) -> None:
        """Stand in the queue no longer."""
        with self._lock:
            head = self._heads.pop(model, None)
            if head is not None:
                self._release(head)

    def give_back(self, seat: str) -> None:
        """Let others have the seat."""
        with self._lock:
            self._release(seat)

    def close(self) -> None:
        """Give everything back, also what a call that outlasts the worker's drain holds."""
        with self._lock:
            self._is_closed = True
            self._leases.close()

    def _take(self, model: str, limit: int) -> str | None:
        name = _name(self._server, model)
        if model not in self._heads:
            head = f"turn-{name}"
            if not self._leases.acquire(head):
                return None
            self._heads[model] = head
        for number in range(limit):
            seat = f"seat-{name}-{number}"
            if self._leases.acquire(seat):
                self._release(self._heads.pop(model))
                return seat
        return None

    def _insist(self, ask: Callable[[], _Answer]) -> _Answer:
        """Ask, once more in a new session if the old one was lost."""
        try:
            return ask()
        except Exception as error:
            if not is_away(error):
                raise
            _log.warning("seats_lost", error=type(error).__name__)
        try:
            self._leases.keep()
        except StateError as error:
            # Calls that are under way end; until then there is one more than there should be.
            _log.warning("seat_taken_by_another", reason=str(error))
        return ask()

    def _release(self, name: str) -> None:
        if self._is_closed:
            return
        try:
            self._leases.release(name)
        except Exception as error:
            if not is_away(error):
                raise
            # Its lock went with the session.
            _log.warning("seats_lost", error=type(error).__name__)


def open_seats(database: Database, address: str) -> LeasedSeats:
    """Return the seats at the models of a server, shared by all processes on a database.

    Parameters
    ----------
    database : Database
    address : str
        ``HOST:PORT`` as configured: one server must be called the same by all who share it.  A
        loopback address is one of this machine.
    """
    server = f"{socket.gethostname()}/{address}" if is_loopback(address) else address
    return LeasedSeats(open_leases(database), server)


def _name(server: str, model: str) -> str:
    """Return what leases are called by: models and hosts have names that no file could have."""
    return hashlib.sha256(f"{server}\n{model}".encode()).hexdigest()[:_DIGEST_CHARACTERS]
