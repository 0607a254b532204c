"""How calls to models are made: a few repeats, an end on cancellation.  When is `turns`'."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

from dicomnode.errors import InferenceCancelled, InferenceError
from dicomnode.inference.statuses import passes_soon
from dicomnode.inference.turns import Cancelled

_ATTEMPTS: Final = 3
_FIRST_PAUSE_SECONDS: Final = 0.2

# How often a call that waits asks whether anybody still wants the answer.
_LOOK_SECONDS: Final = 0.5

# A server or a model's process that died is back after about so long.
_DEAD_SECONDS: Final = 10.0

_Answer = TypeVar("_Answer")


class Deaths:
    """Tells the call that a server did not survive from those that were cut off with it.

    Which of several it was cannot be known; but one end of a server counts once.  Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted_at = float("-inf")

    def is_first(self, now: float) -> bool:
        """Whether no call was cut off in the last seconds; then `now` is remembered.

        Parameters
        ----------
        now : float
            Seconds on a clock that only goes forward.
        """
        with self._lock:
            if now < self._counted_at + _DEAD_SECONDS:
                return False
            self._counted_at = now
            return True


def repeat(call: Callable[[], _Answer], *, seconds: float, cancelled: Cancelled = None) -> _Answer:
    """Make a call, and again where it failed for a reason that passes within moments.

    Raises
    ------
    InferenceError
        The last one.
    """
    end = time.monotonic() + seconds
    pause_seconds = _FIRST_PAUSE_SECONDS
    for _ in range(_ATTEMPTS - 1):
        try:
            return call()
        except InferenceError as error:
            if not passes_soon(error) or time.monotonic() + pause_seconds > end:
                raise
        # The server says nothing of when its queue has room again.
        threading.Event().wait(pause_seconds)
        _stop_if(cancelled)
        pause_seconds *= 2
    return call()


def wait_for_answer(
    start: Callable[[Callable[..., None]], Any], *, cancelled: Cancelled = None
) -> Any:
    """Start a call of tritonclient and wait for its answer, which its own deadline ends.

    Parameters
    ----------
    start : callable
        Given what to call with ``result`` and ``error``; returns tritonclient's call context.
    cancelled : callable, optional

    Raises
    ------
    tritonclient.utils.InferenceServerException
    InferenceCancelled
        The server was told, and drops the request if it has not begun.
    """
    done = threading.Event()
    told: dict[str, Any] = {}

    def note(*, result: Any, error: Any) -> None:
        told.update(result=result, error=error)
        done.set()

    context = start(note)
    while not done.wait(None if cancelled is None else _LOOK_SECONDS):
        if cancelled is not None and cancelled():
            context.cancel()
            done.wait()
            break
    _stop_if(cancelled if told["error"] is not None else None)
    if told["error"] is not None:
        raise told["error"]
    return told["result"]


def _stop_if(cancelled: Cancelled) -> None:
    if cancelled is not None and cancelled():
        raise InferenceCancelled("the analysis was cancelled while a model was asked")
