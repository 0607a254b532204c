"""The log of the embedded server: what server and models print, kept small, and its last words."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Final

from dicomnode.log import get_logger

_LOG_BYTES: Final = 10_000_000
_LAST_BYTES: Final = 8192

# What tritonserver prints before it gives up.  That a machine has no GPU is no error here.
_ERROR_LINE: Final = re.compile(r"(Z E (?!.*CudaDriverHelper)|^error|^failed)", re.IGNORECASE)

_log = get_logger(__name__)


class ServerLog:
    """A file that the server appends to.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rotate(self) -> None:
        """Keep the log and one before it; the server appends, so its file can be cut.

        Where there is no room for the one before, its lines are lost: the server goes on.
        """
        if not self.path.exists() or self.path.stat().st_size <= _LOG_BYTES:
            return
        try:
            shutil.copyfile(self.path, self.path.with_suffix(".log.1"))
        except OSError as error:
            _log.warning("triton_log_not_kept", error=error.strerror)
        os.truncate(self.path, 0)

    def last_words(self) -> str:
        """Return the last error line of the log, else its last line."""
        told: list[str] = []
        with contextlib.suppress(FileNotFoundError), self.path.open("rb") as log:
            log.seek(max(0, self.path.stat().st_size - _LAST_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
            told = [line.strip() for line in lines if line.strip()]
        errors = [line for line in told if _ERROR_LINE.search(line)]
        return (errors or told or ["it printed nothing"])[-1][:500]
