"""Readiness: every component is asked, with a deadline, and not more often than makes sense."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Final

from dicomnode.deadlines import Question

Ask = Callable[[], str | None]
"""Asks a component: None if it is ready, else the reason in words."""

_DEADLINE_SECONDS: Final = 3.0
_FRESH_SECONDS: Final = 2.0


class Readiness:
    """Asks the components of a node, and keeps their answers for a moment.  Thread-safe.

    A probe every second, of several probers, costs the components one question every other second.

    Parameters
    ----------
    parts : mapping of str to callable
        By name.
    deadline_seconds : float
        For all of them together; one that is late is not ready.
    fresh_seconds : float
        How long answers hold.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        parts: Mapping[str, Ask],
        *,
        deadline_seconds: float = _DEADLINE_SECONDS,
        fresh_seconds: float = _FRESH_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._questions = {
            name: Question(ask, name=f"readiness-{name}") for name, ask in parts.items()
        }
        self._deadline_seconds = deadline_seconds
        self._fresh_seconds = fresh_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._latest: dict[str, str | None] = {}

    def ask(self) -> dict[str, str | None]:
        """Return None for each component that is ready, else the reason in words."""
        with self._lock:  # others wait for the same answers
            if self._clock() - self._asked_at > self._fresh_seconds:
                self._latest = self._ask_all()
                self._asked_at = self._clock()
            return dict(self._latest)

    def _ask_all(self) -> dict[str, str | None]:
        end = self._clock() + self._deadline_seconds
        asked = {name: question.begin() for name, question in self._questions.items()}
        return {name: self._answer(each, end) for name, each in asked.items()}

    def _answer(self, asked: Future[str | None], end: float) -> str | None:
        try:
            return asked.result(max(0.0, end - self._clock()))
        except TimeoutError:
            return f"no answer within {self._deadline_seconds:g} s"
        except Exception as error:  # noqa: BLE001 - a component that cannot be asked is not ready
            return f"cannot be asked ({type(error).__name__})"
