"""When the embedded server is started again: at once after a good while, later and later in a loop.

Pure: time comes in as an argument.
"""

from __future__ import annotations

from typing import Final

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 30.0

# A server that was up for this long has earned a prompt restart.
_STABLE_SECONDS: Final = 60.0

# So many ends in a row, none of them after a stable run, are a loop.
_LOOP_ENDS: Final = 4


class Restarts:
    """Counts how often the server ended without having run for a good while.

    Attributes
    ----------
    in_a_row : int
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self._reason = ""
        self._pause_seconds = 0.0

    def count(self, reason: str, *, ran_seconds: float) -> float:
        """Note an end.

        Parameters
        ----------
        reason : str
            Continues a sentence about the server.
        ran_seconds : float
            How long it had run.

        Returns
        -------
        float
            Seconds to wait before the next start; doubles in a loop, up to half a minute.
        """
        if ran_seconds > _STABLE_SECONDS:
            self.in_a_row = 0
        self.in_a_row += 1
        self._reason = reason
        self._pause_seconds = min(
            _LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(self.in_a_row - 1, 10)
        )
        return self._pause_seconds

    @property
    def is_loop(self) -> bool:
        """Whether the server ends again and again."""
        return self.in_a_row >= _LOOP_ENDS

    @property
    def sentence(self) -> str:
        """What an operator should know of the last end; empty if there was none."""
        if not self.in_a_row:
            return ""
        often = f" {self.in_a_row} times in a row, the last time it" if self.is_loop else ""
        return (
            f"the embedded inference server{' ended' if often else ''}{often} {self._reason}; "
            f"it is started again after {self._pause_seconds:g} s"
        )
