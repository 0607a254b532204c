"""Which of many like events are worth a log line.  Metrics count them all; nothing is logged here.

A peer that is refused may try again a hundred times a second, and a log that is full of it hides
what else happens.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class _Seen:
    since: float
    said: int = 0
    unsaid: int = 0


class Recurring:
    """Lets the first few events of a kind through in each period, then counts.

    Parameters
    ----------
    said_per_period : int
    period_seconds : float
    most_kinds : int
        Kinds remembered; peers can make up as many as they like.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        *,
        said_per_period: int = 5,
        period_seconds: float = 60.0,
        most_kinds: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._said_per_period = said_per_period
        self._period_seconds = period_seconds
        self._most_kinds = most_kinds
        self._clock = clock
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._lock = threading.Lock()

    def ask(self, kind: str) -> int | None:
        """Say whether this event is worth a line.

        Returns
        -------
        int or None
            None if it is not; else how many like it were left unsaid since the last line.
        """
        now = self._clock()
        with self._lock:
            seen = self._seen.pop(kind, None) or _Seen(since=now)
            self._seen[kind] = seen
            if len(self._seen) > self._most_kinds:
                self._seen.popitem(last=False)
            if now - seen.since >= self._period_seconds:
                seen.since, seen.said = now, 0
            if seen.said >= self._said_per_period:
                seen.unsaid += 1
                return None
            seen.said += 1
            unsaid, seen.unsaid = seen.unsaid, 0
            return unsaid
