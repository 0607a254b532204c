"""Whose turn it is to ask a model: so many calls at a time, of this process or of all that share.

Who else shares, and how a seat is held so that it does not outlive its holder, is the business of
whoever gives `Seats`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from dicomnode.errors import InferenceCancelled, InferenceTimeout

Cancelled = Callable[[], bool] | None

# How often a call that waits asks whether anybody still wants the answer.
_LOOK_SECONDS: Final = 0.5

# How often a seat that another process holds is asked for: nothing tells when it is free.
_ASK_SECONDS: Final = 0.02

# What waits for less is not worth a word to anybody.
_TOLD_SECONDS: Final = 1.0


class Seats(Protocol):
    """Seats at the models of one server, shared with other processes."""

    def take(self, model: str, limit: int) -> str | None:
        """Take one of `limit` seats if one is free; else stand in the queue for it.

        Returns
        -------
        str or None
            What `give_back` wants; None: ask again in a moment, or `leave`.
        """

    def leave(self, model: str) -> None:
        """Stand in the queue no longer."""

    def give_back(self, seat: str) -> None:
        """Let others have the seat."""


class Asker:
    """All calls on behalf of one job, which can say that the job as a whole waits for its turn.

    Parameters
    ----------
    told : callable
        Given a sentence when every call of the job has waited for a second, None when that is over.
    """

    def __init__(self, told: Callable[[str | None], None]) -> None:
        self._told = told
        # Held while telling: what is said last must be true.
        self._lock = threading.Lock()
        self._inside = 0
        self._idle_since = time.monotonic()
        self._has_told = False

    def waits(self, since: float, sentence: str) -> None:
        """Note that one of its calls has waited since then, on the clock that only goes forward."""
        with self._lock:
            begun = max(since, self._idle_since)
            if self._has_told or self._inside or time.monotonic() < begun + _TOLD_SECONDS:
                return
            self._has_told = True
            self._told(sentence)

    def enters(self) -> None:
        """Note that one of its calls has its turn."""
        with self._lock:
            self._inside += 1
            if self._has_told:
                self._has_told = False
                self._told(None)

    def leaves(self) -> None:
        """Note that the turn of one of its calls is over."""
        with self._lock:
            self._inside -= 1
            self._idle_since = time.monotonic()


class Gates:
    """Lets so many calls to each model through at a time, in the order they came.  Thread-safe.

    Parameters
    ----------
    seats : Seats, optional
        Shared with other processes on the same server.  Of the calls of this process the first
        alone contends with them, so that each process stands in their queue once.
    """

    def __init__(self, seats: Seats | None = None) -> None:
        self._seats = seats
        self._changed = threading.Condition()
        self._inside: dict[str, int] = {}
        self._queues: dict[str, deque[object]] = {}

    @contextmanager
    def enter(
        self,
        model: str,
        limit: int,
        *,
        seconds: float,
        cancelled: Cancelled = None,
        asker: Asker | None = None,
    ) -> Iterator[None]:
        """Wait for a turn, and hold it for the block.

        Raises
        ------
        InferenceTimeout
            If none comes within `seconds`.
        InferenceCancelled
        """
        asker = Asker(lambda _sentence: None) if asker is None else asker
        wait = _Wait(model, limit, seconds, cancelled, asker)
        with self._sit(wait):
            asker.enters()
            try:
                yield
            finally:
                asker.leaves()

    @contextmanager
    def _sit(self, wait: _Wait) -> Iterator[None]:
        seat = self._take(wait)
        try:
            yield
        finally:
            try:
                if self._seats is not None and seat is not None:
                    self._seats.give_back(seat)
            finally:
                with self._changed:
                    self._inside[wait.model] -= 1
                    self._changed.notify_all()

    def _take(self, wait: _Wait) -> str | None:
        place = object()
        with self._changed:
            queue = self._queues.setdefault(wait.model, deque())
            queue.append(place)
        try:
            while not self._is_next(wait, queue, place):
                wait.go_on()
            seat = self._sit_down(wait)
            with self._changed:
                self._inside[wait.model] = self._inside.get(wait.model, 0) + 1
            return seat
        finally:
            with self._changed:
                queue.remove(place)
                self._changed.notify_all()

    def _is_next(self, wait: _Wait, queue: deque[object], place: object) -> bool:
        with self._changed:
            return self._changed.wait_for(
                lambda: queue[0] is place and self._inside.get(wait.model, 0) < wait.limit,
                wait.look_seconds(),
            )

    def _sit_down(self, wait: _Wait) -> str | None:
        if self._seats is None:
            return None
        pause = threading.Event()
        seat = self._seats.take(wait.model, wait.limit)
        try:
            while seat is None:
                wait.go_on()
                pause.wait(_ASK_SECONDS)
                seat = self._seats.take(wait.model, wait.limit)
        except BaseException:
            self._seats.leave(wait.model)
            raise
        return seat


class _Wait:
    """One call that waits: how long it may, and whether anybody still wants it."""

    def __init__(
        self, model: str, limit: int, seconds: float, cancelled: Cancelled, asker: Asker
    ) -> None:
        self.model = model
        self.limit = limit
        self._seconds = seconds
        self._cancelled = cancelled
        self._asker = asker
        self._since = time.monotonic()

    def look_seconds(self) -> float:
        """Return how long to wait before the next look."""
        left = self._since + self._seconds - time.monotonic()
        return max(0.0, min(left, _LOOK_SECONDS))

    def go_on(self) -> None:
        """Look whether the wait is to go on.

        Raises
        ------
        InferenceTimeout, InferenceCancelled
        """
        if self._cancelled is not None and self._cancelled():
            raise InferenceCancelled("the analysis was cancelled while it waited for a model")
        busy = f"busy with {self.limit} calls of this node"
        if time.monotonic() >= self._since + self._seconds:
            raise InferenceTimeout(f"model {self.model!r} was {busy} for {self._seconds:g} s")
        self._asker.waits(self._since, f"waits for its turn: model {self.model!r} is {busy}")
