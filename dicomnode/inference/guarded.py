"""A process that cannot outlive the node: how it is started, looked at and ended.

It runs below a `guardian`, which ends it when the node is gone.  What runs, and when, is
`embedded`'s.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from dicomnode.inference import guardian
from dicomnode.log import get_logger

KILL_AFTER_SECONDS: Final = 10.0
"""From asking it to end."""

_log = get_logger(__name__)


class Guarded:
    """A process and its guardian, which is our child.

    Parameters
    ----------
    command : sequence of str
    environment : mapping of str to str
    log_file : Path
        What it prints is appended.
    region_prefix : str
        Begins the names of the shared memory that this process and no other makes.

    Raises
    ------
    OSError
        If the machine has no process to spare, or the log cannot be written.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log_file: Path,
        region_prefix: str,
    ) -> None:
        watched, self._held = os.pipe()
        try:
            with log_file.open("ab") as log:
                # No preexec_fn: it can deadlock in a process with threads.  The guardian does all
                # that has to be done between fork and exec.
                self._guardian = subprocess.Popen(  # noqa: S603  our own program and options
                    [
                        *(sys.executable, "-I", "-S", guardian.__file__),
                        *(str(watched), region_prefix),
                        *command,
                    ],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=(watched,),
                    start_new_session=True,  # Ctrl-C is for the node, which drains first
                )
        except BaseException:
            os.close(self._held)
            raise
        finally:
            os.close(watched)

    @property
    def guardian_pid(self) -> int:
        """Whose child the process is."""
        return self._guardian.pid

    def exit_status(self) -> int | None:
        """Return how it ended, as a shell says it; None while it runs."""
        return self._guardian.poll()

    def end(self, *, at_once: bool) -> None:
        """Ask it to end; after the deadline let go of the pipe, which has it killed.

        Parameters
        ----------
        at_once : bool
            Whether it is killed without being asked.
        """
        process = self._guardian
        try:
            if process.poll() is None and not at_once:
                process.send_signal(signal.SIGTERM)
                process.wait(KILL_AFTER_SECONDS)
        except subprocess.TimeoutExpired:
            _log.warning("triton_killed", after_seconds=KILL_AFTER_SECONDS)
        finally:
            os.close(self._held)
            try:
                process.wait(KILL_AFTER_SECONDS)
            except subprocess.TimeoutExpired:
                # The guardian itself is stopped: the kernel ends the server with it.
                process.kill()
                process.wait()
