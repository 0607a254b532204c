"""Liveness leases: who holds one lives.  No clocks, no heartbeats, no policy.

A lease is freed by the death of its holder, by whatever means: a file lock by the kernel, a
PostgreSQL advisory lock by the end of its session.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Protocol

from dicomnode.database import Database
from dicomnode.database.locks import SessionLocks


class Leases(Protocol):
    """Named locks that die with their holder."""

    def acquire(self, name: str) -> bool:
        """Take the lease if it is free."""

    def release(self, name: str) -> None:
        """Give the lease back."""

    def close(self) -> None:
        """Give everything back."""


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

    def close(self) -> None:
        """Give everything back."""
        for name in tuple(self._held):
            self.release(name)


class SessionLeases:
    """Leases as advisory locks of one PostgreSQL session."""

    def __init__(self, locks: SessionLocks) -> None:
        self._locks = locks

    def acquire(self, name: str) -> bool:
        """Take the lease if it is free."""
        return self._locks.try_lock(_lock_key(name))

    def release(self, name: str) -> None:
        """Give the lease back."""
        self._locks.unlock(_lock_key(name))

    def close(self) -> None:
        """Give everything back."""
        self._locks.close()


def _lock_key(name: str) -> int:
    """Map a name to the signed 64-bit integer that PostgreSQL locks by."""
    digest = hashlib.sha256(f"dicomnode lease {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
