"""A database that is away: how that is told, and how it is waited for.  No row is asked here."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

import sqlalchemy as sa

_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 5.0

_Result = TypeVar("_Result")


def is_away(error: BaseException) -> bool:
    """Whether `error` means that the database cannot be asked now: gone, cut off, or locked.

    A later attempt can succeed; a statement that the database refuses is another matter.
    """
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError)


def outlast(
    function: Callable[[], _Result], *, on_away: Callable[[BaseException], object]
) -> _Result:
    """Call a function, again and again where it finds the database away, until it is back.

    Parameters
    ----------
    function : callable
        What it did before the database went must do no harm twice.
    on_away : callable
        Told each time with what the function raised.
    """
    pause = threading.Event()
    seconds = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return function()
        except Exception as error:
            if not is_away(error):
                raise
            on_away(error)
        pause.wait(seconds)  # nothing tells when a database is back
        seconds = min(_LONGEST_PAUSE_SECONDS, 2 * seconds)
