"""What a spool without a common disk needs of an object store.  The store itself is `bucket`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

_UNUSED_SECONDS: Final = 3600.0
"""How long a local copy stays that nobody asks for."""
_TRIM_SECONDS: Final = 300.0


class Shared(Protocol):
    """Objects by key, as files of a spool are; what is put is durable on return.

    Every method raises StorageUnavailable where the store cannot be asked.
    """

    def put(self, key: str, path: Path) -> None:
        """Store the content of a file, in place of what had this key before."""

    def fetch(self, key: str, path: Path) -> bool:
        """Make a file of an object, whole or not at all; False if there is no such object."""

    def has(self, key: str) -> bool:
        """Whether there is such an object."""

    def list(self, prefix: str) -> Iterator[tuple[str, datetime, int]]:
        """Yield key, time of storing and size in bytes of all objects below ``prefix/``."""

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; what is gone already is no fault."""


class Copies:
    """Local copies of shared objects, below one folder; what nobody uses for an hour goes.

    Parameters
    ----------
    shared : Shared
    root : pathlib.Path
        A key's copy lies at ``root / key``.
    folder : str
        First part of all keys.
    """

    def __init__(self, shared: Shared, root: Path, folder: str) -> None:
        self.shared = shared
        self._root = root
        self._folder = folder
        self._trimmed_at = time.monotonic()

    def bring(self, key: str, *, anew: bool = False) -> bool:
        """Have a copy, be it here or fetched.

        Parameters
        ----------
        key : str
        anew : bool
            Fetch it even if there is one: the object may have changed.

        Returns
        -------
        bool
            False if there is no such object.

        Raises
        ------
        StorageUnavailable
            If it must be fetched and cannot be.
        """
        self._trim_sometimes()
        path = self._root / key
        if not anew and path.is_file():
            with suppress(FileNotFoundError):
                os.utime(path)
                return True
        path.parent.mkdir(parents=True, exist_ok=True)
        os.utime(path.parent)  # not to be taken for one that is left over
        return self.shared.fetch(key, path)

    def share(self, key: str) -> None:
        """Put what lies here under a key into the store; it is durable on return.

        Raises
        ------
        StorageUnavailable
            If it cannot be; then nothing lies here either.
        """
        path = self._root / key
        try:
            self.shared.put(key, path)
        except BaseException:
            path.unlink(missing_ok=True)  # a copy of nothing
            raise

    def trim(self, *, unused_seconds: float = _UNUSED_SECONDS) -> int:
        """Remove copies that nobody used for so long; return how many."""
        before = time.time() - unused_seconds
        removed = 0
        for path in sorted((self._root / self._folder).rglob("*"), reverse=True):
            # Another process with this folder may be doing the same.
            with suppress(FileNotFoundError):
                if path.stat().st_mtime >= before:
                    continue
                if path.is_dir():
                    with suppress(OSError):  # not empty
                        path.rmdir()
                else:
                    path.unlink()
                    removed += 1
        return removed

    def _trim_sometimes(self) -> None:
        if time.monotonic() > self._trimmed_at + _TRIM_SECONDS:
            self._trimmed_at = time.monotonic()
            self.trim()
