"""Being asked to end, by a signal or from a thread.  What is done then is the asked one's."""

from __future__ import annotations

import queue
from typing import Final

_LOOK_SECONDS: Final = 0.5


class StopRequest:
    """Waited for by the main thread of a process.

    Unlike an event, it may be made by the handler of a signal that interrupts whoever waits.
    """

    def __init__(self) -> None:
        self._made: queue.SimpleQueue[None] = queue.SimpleQueue()

    def make(self) -> None:
        """Ask; once more changes nothing."""
        self._made.put(None)

    def wait(self) -> None:
        """Wait until it is made."""
        while True:
            try:
                # A signal that comes just before this begins to block is handled when it ends.
                self._made.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            return
