"""Liveness leases: who holds one lives.  No clocks, no heartbeats, no policy.

A lease is freed by the death of its holder, by whatever means: a file lock by the kernel, a
PostgreSQL advisory lock by the end of its session.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
import uuid
from itertools import count
from pathlib import Path
from typing import Protocol

from dicomnode.database import Database
from dicomnode.database.locks import SessionLocks
from dicomnode.errors import StateError


class Leases(Protocol):
    """Named locks that die with their holder."""

    def acquire(self, name: str) -> bool:
        """Take the lease if it is free."""

    def release(self, name: str) -> None:
        """Give the lease back."""

    def keep(self) -> bool:
        """Make sure that what was taken is still held.

        Returns
        -------
        bool
            False if it had been lost and was taken again: others may be where this process just
            was, so this is no time to judge who is dead.

        Raises
        ------
        StateError
            If it had been lost and somebody else holds it.
        """

    def close(self) -> None:
        """Give everything back."""


def claim_slot(leases: Leases, database: Database, role: str) -> str:
    """Take a name of its own for a process that may have many like it.

    Beside SQLite it is the first free of ``role-0``, ``role-1``, ...: lock files stay for ever, so
    names are used again.  On PostgreSQL it is never used again: a session can be lost while its
    process lives, and two processes must not then share a name.
    """
    if database.lease_folder is None:
        host = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())[:32]
        name = f"{role}-{host}-{uuid.uuid4().hex[:8]}"
        if leases.acquire(name):
            return name
        raise StateError(f"the lease {name!r} is taken")  # pragma: no cover  (it is unique)
    return next(name for name in map(f"{role}-{{}}".format, count()) if leases.acquire(name))


def open_leases(database: Database) -> Leases:
    """Return the leases that fit the database: files beside SQLite, else PostgreSQL's."""
    if database.lease_folder is not None:
        return FileLeases(database.lease_folder)
    return SessionLeases(SessionLocks(database))


class FileLeases:
    """Leases as locked files.  Files are never removed: that would race with taking them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def acquire(self, name: str) -> bool:
        """Take the lease if it is free."""
        descriptor = os.open(
            self._folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[name] = descriptor
        return True

    def release(self, name: str) -> None:
        """Give the lease back."""
        os.close(self._held.pop(name))

    def keep(self) -> bool:
        """Do nothing: a file lock is held as long as the process lives."""
        return True

    def close(self) -> None:
        """Give everything back."""
        for name in tuple(self._held):
            self.release(name)


class SessionLeases:
    """Leases as advisory locks of one PostgreSQL session."""

    def __init__(self, locks: SessionLocks) -> None:
        self._locks = locks
        self._held: set[str] = set()
        self._lost: set[str] = set()

    def acquire(self, name: str) -> bool:
        """Take the lease if it is free."""
        # A session may lock twice what it holds; a lease is held by one, once.
        if name in self._held or not self._locks.try_lock(_lock_key(name)):
            return False
        self._held.add(name)
        return True

    def release(self, name: str) -> None:
        """Give the lease back."""
        self._held.discard(name)
        self._lost.discard(name)
        self._locks.unlock(_lock_key(name))

    def keep(self) -> bool:
        """Begin a new session where the old one was lost, and take everything again."""
        if not self._locks.is_open():
            self._lost = set(self._held)
            self._locks.reopen()
        if not self._lost:
            return True
        for name in sorted(self._lost):
            if not self._locks.try_lock(_lock_key(name)):
                raise StateError(f"the lease {name!r} was lost, and another process holds it")
            self._lost.discard(name)
        return False

    def close(self) -> None:
        """Give everything back."""
        self._locks.close()


def _lock_key(name: str) -> int:
    """Map a name to the signed 64-bit integer that PostgreSQL locks by."""
    digest = hashlib.sha256(f"dicomnode lease {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
