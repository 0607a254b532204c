"""A gate for the thread that the library runs beside each of our associations as requestor.

That thread takes incoming messages off the queue.  Whoever sends a request closes the library's own
gate, an `Event`, waits until the thread says that it is paused, and then waits for the response.
But the thread says that it is paused until some time after it was let through: closed in between,
the gate holds nothing back, and the thread takes the response for a request and drops it.  The
sender waits until its time-out.  It happens about once in some thousand requests to a peer that
answers at once.  This gate has no such moment.
"""

from __future__ import annotations

import threading
import time

from pynetdicom.association import Association


class Checkpoint:
    """Open or closed; who passes is no longer paused at the moment it is let through.

    Parameters
    ----------
    assoc : pynetdicom.association.Association
        Whose thread is held.
    """

    def __init__(self, assoc: Association) -> None:
        self._assoc = assoc
        self._changed = threading.Condition()
        self._is_open = True
        self._has_arrived = False

    def is_set(self) -> bool:
        """Whether it is open."""
        return self._is_open

    def set(self) -> None:
        """Open it."""
        with self._changed:
            self._is_open = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Close it; who says to be paused from here on is held."""
        with self._changed:
            self._is_open = False

    def wait(self) -> None:
        """Return when it is open."""
        with self._changed:
            self._has_arrived = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._is_open)
            self._assoc._is_paused = False  # noqa: SLF001 - the library does so too late

    def await_arrival(self, seconds: float) -> None:
        """Return when the thread has come to this gate, has ended, or the time is over."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not self._has_arrived and self._assoc.is_alive() and time.monotonic() < deadline:
                self._changed.wait(0.01)


def put_checkpoint(assoc: Association, seconds: float) -> None:
    """Have an established association use such a gate.

    Parameters
    ----------
    assoc : pynetdicom.association.Association
    seconds : float
        Longest wait for its thread, which comes by every millisecond.
    """
    checkpoint = Checkpoint(assoc)
    assoc._reactor_checkpoint = checkpoint  # type: ignore[assignment]  # noqa: SLF001 - as above
    checkpoint.await_arrival(seconds)
