"""Asking what may hang: with a deadline, and never a second time while the first still waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

_Answer = TypeVar("_Answer")


class Question(Generic[_Answer]):
    """Something that is asked again and again.  Thread-safe.

    Parameters
    ----------
    ask : callable
        Runs in a thread of its own, which nobody waits for when the process ends.
    name : str
        Of that thread.
    """

    def __init__(self, ask: Callable[[], _Answer], *, name: str) -> None:
        self._ask = ask
        self._name = name
        self._lock = threading.Lock()
        self._running: Future[_Answer] | None = None

    def begin(self) -> Future[_Answer]:
        """Ask, or join whoever waits for the answer already."""
        with self._lock:
            future = self._running
            if future is None:
                future = self._running = Future()
                threading.Thread(
                    target=self._run, args=(future,), name=self._name, daemon=True
                ).start()
        return future

    def answer(self, seconds: float) -> _Answer:
        """Ask and wait for the answer.

        Raises
        ------
        TimeoutError
            If it does not come within `seconds`.
        """
        return self.begin().result(seconds)

    def _run(self, future: Future[_Answer]) -> None:
        try:
            answer = self._ask()
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is waited for
            self._end()
            future.set_exception(error)
        else:
            self._end()
            future.set_result(answer)

    def _end(self) -> None:
        with self._lock:
            self._running = None
