"""Group commit: what several threads hand in is written by one, many at a time.  No rows here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from dicomnode.errors import StateError
from dicomnode.log import get_logger

_Item = TypeVar("_Item")

_GATHER_SECONDS: Final = 0.25
"""How long the first of a batch waits for others: four commits a second cost next to nothing."""

_LARGEST_BATCH: Final = 500
_LONGEST_BACKLOG: Final = 10_000
_PATIENCE_SECONDS: Final = 30.0
_RETRY_SECONDS: Final = 1.0

_log = get_logger("series")


class BatchWriter(Generic[_Item]):
    """A thread that writes what it is given in batches, in the order given.

    A batch that cannot be written is tried again until it can.  Meanwhile nothing new is taken:
    whoever hands something in is told so, and can tell its peer.

    Parameters
    ----------
    write : callable
        Writes a batch; what it raises is taken for a failure that may pass.
    name : str
        Of the thread.
    """

    def __init__(self, write: Callable[[list[_Item]], None], *, name: str) -> None:
        self._write = write
        self._changed = threading.Condition()
        self._waiting: list[_Item] = []
        self._put = 0
        self._written = 0
        self._attempts = 0
        self._failure: str | None = None
        self._is_urgent = False
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, item: _Item, *, must_take: bool = False) -> None:
        """Hand in an item; it is written soon after, not yet on return.

        Parameters
        ----------
        item
            What is to be written.
        must_take : bool
            Take it even if nothing can be written now.

        Raises
        ------
        StateError
            If what was handed in before cannot be written.
        """
        deadline = time.monotonic() + _PATIENCE_SECONDS
        with self._changed:
            if self._failure is not None and not must_take:
                self._await_attempt()
            while not must_take and len(self._waiting) >= _LONGEST_BACKLOG:
                if self._failure is None and self._changed.wait(deadline - time.monotonic()):
                    continue
                break
            if not must_take and (
                self._failure is not None or len(self._waiting) >= _LONGEST_BACKLOG
            ):
                raise StateError(f"the database takes no rows: {self._failure or 'too slow'}")
            self._waiting.append(item)
            self._put += 1
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def _await_attempt(self) -> None:
        """Have what failed tried again now: whatever failed may be over; the lock is held."""
        wanted = self._attempts + 1
        self._is_urgent = True
        self._changed.notify_all()
        self._changed.wait_for(
            lambda: self._failure is None or self._attempts >= wanted, _RETRY_SECONDS
        )

    def holds(self, is_one: Callable[[_Item], bool]) -> bool:
        """Whether anything that was handed in and is not written yet is such a one."""
        with self._changed:
            return any(map(is_one, self._waiting))

    def flush(self, seconds: float = _PATIENCE_SECONDS) -> None:
        """Return once everything handed in before is written.

        Raises
        ------
        StateError
            If that takes longer than `seconds`.
        """
        with self._changed:
            wanted = self._put
            self._is_urgent = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._written >= wanted, seconds):
                raise StateError(f"the database takes no rows: {self._failure or 'too slow'}")

    def stop(self) -> None:
        """Write what is left, once more if need be, and end."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._is_stopping)
                if not self._waiting:
                    return
                self._changed.wait_for(self._is_enough, _GATHER_SECONDS)
                batch = self._waiting[:_LARGEST_BATCH]
                self._is_urgent = False
            is_written = self._try(batch)
            with self._changed:
                self._attempts += 1
                if is_written:
                    del self._waiting[: len(batch)]
                    self._written += len(batch)
                    self._changed.notify_all()
                elif self._is_stopping:
                    _log.error("rows_left_for_the_next_start", count=len(self._waiting))
                    return
                else:
                    self._changed.notify_all()
                    self._changed.wait_for(self._is_hurried, _RETRY_SECONDS)

    def _is_hurried(self) -> bool:
        return self._is_urgent or self._is_stopping

    def _is_enough(self) -> bool:
        return self._is_hurried() or len(self._waiting) >= _LARGEST_BATCH

    def _try(self, batch: list[_Item]) -> bool:
        try:
            self._write(batch)
        except Exception as error:  # noqa: BLE001 - the thread must live on; hand-ins are told
            with self._changed:
                is_first = self._failure is None
                self._failure = type(error).__name__
                self._changed.notify_all()
            if is_first:
                _log.exception("rows_not_written", count=len(batch))
            return False
        if self._failure is not None:
            _log.info("rows_written_again", count=len(batch))
        with self._changed:
            self._failure = None
        return True
