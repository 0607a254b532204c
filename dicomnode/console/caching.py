"""Answers that hold for a few seconds, so that each page does not ask the same anew."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class Cached(Generic[_Answer]):
    """Asks at most once in a while; callers meanwhile get the last answer.

    Parameters
    ----------
    ask : callable
    seconds : float
        How long an answer holds.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[], _Answer],
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._held: tuple[float, _Answer] | None = None

    def __call__(self) -> _Answer:
        """Return the answer, at most so old."""
        with self._lock:  # those who come meanwhile wait for it, and do not ask as well
            if self._held is None or self._clock() >= self._held[0] + self._seconds:
                answer = self._ask()
                self._held = self._clock(), answer
            return self._held[1]
