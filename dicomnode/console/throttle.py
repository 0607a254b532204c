"""How often somebody may fail to sign in.  Counts in memory; who fails is the caller's to say."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

WINDOW_SECONDS: Final = 300.0

_PER_NAME_AND_ADDRESS: Final = 5
_PER_ADDRESS: Final = 20
_PER_NAME: Final = 50
"""High: whoever knows a name must not be able to keep its owner out from elsewhere at once."""

_MOST_KEYS: Final = 20_000


class Throttle:
    """Failures of the last minutes, by name and address.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[tuple[str, str], deque[float]] = {}

    def wait_seconds(self, name: str, address: str) -> float:
        """Return how long to wait before the next try; 0 if it may be made now."""
        now = self._clock()
        with self._lock:
            return max(
                self._wait(key, most, now)
                for key, most in (
                    ((name, address), _PER_NAME_AND_ADDRESS),
                    (("", address), _PER_ADDRESS),
                    ((name, ""), _PER_NAME),
                )
            )

    def fail(self, name: str, address: str) -> None:
        """Count a failure."""
        now = self._clock()
        with self._lock:
            if len(self._failures) >= _MOST_KEYS:
                self._forget(now)
            for key in ((name, address), ("", address), (name, "")):
                self._failures.setdefault(key, deque(maxlen=_PER_NAME)).append(now)

    def succeed(self, name: str, address: str) -> None:
        """Forget the failures of a name from an address."""
        with self._lock:
            self._failures.pop((name, address), None)

    def _wait(self, key: tuple[str, str], most: int, now: float) -> float:
        failures = self._failures.get(key)
        if failures is None:
            return 0.0
        while failures and failures[0] <= now - WINDOW_SECONDS:
            failures.popleft()
        if len(failures) < most:
            return 0.0
        return failures[len(failures) - most] + WINDOW_SECONDS - now

    def _forget(self, now: float) -> None:
        """Make room: what is over goes, and where that is not enough, all."""
        over = [key for key, each in self._failures.items() if each[-1] <= now - WINDOW_SECONDS]
        for key in over:
            del self._failures[key]
        if len(self._failures) >= _MOST_KEYS:
            self._failures.clear()
