"""One at a time, by key, among the threads of a process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Lets nobody else look at a file until it is durable: it has its name before."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._given_back = threading.Condition()

    @contextmanager
    def alone_at(self, key: str) -> Iterator[None]:
        """Wait until nobody else is at `key`, and be alone there until the end of the block."""
        with self._given_back:
            self._given_back.wait_for(lambda: key not in self._taken)
            self._taken.add(key)
        try:
            yield
        finally:
            with self._given_back:
                self._taken.remove(key)
                self._given_back.notify_all()
