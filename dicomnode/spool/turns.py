"""One at a time, by key, among the threads of a process."""

from __future__ import annotations

import threading


class Turns:
    """Lets nobody else look at a file until it is durable: it has its name before."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._given_back = threading.Condition()

    def begin(self, key: str) -> None:
        """Wait until nobody else is at `key`, and be alone there until `end`."""
        with self._given_back:
            while key in self._taken:
                self._given_back.wait()
            self._taken.add(key)

    def end(self, key: str) -> None:
        """Let the next one go on."""
        with self._given_back:
            self._taken.remove(key)
            self._given_back.notify_all()
