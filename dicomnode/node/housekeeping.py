"""What a worker looks after beside its work: jobs the engine gave up, and room on the disk.

In a thread of its own: to make room may take minutes, and who is dead must be known in seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from dicomnode.log import get_logger

_LOOK_SECONDS: Final = 1.0

_log = get_logger("housekeeping")


@dataclass(slots=True, kw_only=True)
class Chore:
    """Something to be done again and again.

    Attributes
    ----------
    name : str
        As the log calls it.
    every_seconds : float
        From the end of one time to the beginning of the next; the first is at once.
    do : callable
        May raise: the next time it may succeed.
    """

    name: str
    every_seconds: float
    do: Callable[[], object]
    _due_at: float = field(default=float("-inf"), init=False)

    def do_if_due(self) -> None:
        """Do it if it is time."""
        if time.monotonic() < self._due_at:
            return
        try:
            self.do()
        except Exception as error:  # noqa: BLE001  (must outlive a database or a disk that is away)
            _log.warning("chore_failed", chore=self.name, error=type(error).__name__)
        self._due_at = time.monotonic() + self.every_seconds


class Housekeeper:
    """Does chores, one after the other, until it is stopped.

    Parameters
    ----------
    *chores : Chore
    """

    def __init__(self, *chores: Chore) -> None:
        self._chores = chores
        self._stopping = threading.Event()
        self._came_round_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, wait_seconds: float) -> None:
        """Begin no further chore, and wait so long for one that is being done.

        What it has not done by then the next start does.
        """
        self._stopping.set()
        self._thread.join(wait_seconds)

    def silent_seconds(self) -> float:
        """Return for how long it has not come round; infinite if its thread has ended."""
        return time.monotonic() - self._came_round_at if self._thread.is_alive() else float("inf")

    def _run(self) -> None:
        while not self._stopping.wait(_LOOK_SECONDS):
            self._came_round_at = time.monotonic()
            for chore in self._chores:
                if not self._stopping.is_set():
                    chore.do_if_due()
