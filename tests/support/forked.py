"""Processes forked from one that has imported everything: a start takes a fraction of its time.

That the installed command starts is for tests that run it as users do.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TextIO

CONTEXT = multiprocessing.get_context("forkserver")
# One server forks for all, and it begins with what is named here before the first process.
CONTEXT.set_forkserver_preload(
    [
        "tests.support.warmed",
        "tests.support.workers",
        "tests.support.engine_process",
        "dicomnode.cli.main",
        "dicomnode.cli.serve",
        "dicomnode.cli.roles",
        "dicomnode.node.console",
        "dicomnode.node.worker",
    ]
)


class Forked:
    """A function in a forked process, standard streams in text mode, with what tests use of Popen.

    Parameters
    ----------
    target
        To be called with `arguments`, strings.
    environment
        All of it.
    stderr
        Descriptor of an open file; else it can be read from `stderr`.
    """

    def __init__(
        self,
        target: Callable[..., None],
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str] = os.environ,
        stderr: int | None = None,
    ) -> None:
        self.stdout, out = _pipe()
        self.stderr: TextIO | None = None
        if stderr is None:
            self.stderr, errors = _pipe()
        else:
            errors = Connection(os.dup(stderr), readable=False)
        self._process = CONTEXT.Process(
            target=_run,
            args=(target, tuple(arguments), dict(environment), str(Path.cwd()), out, errors),
        )
        self._process.start()
        out.close()
        errors.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return its exit code, the negative number of the signal that ended it, or None."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise `subprocess.TimeoutExpired` if it does not come."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0.0)
        return code


def _pipe() -> tuple[TextIO, Connection]:
    reads, writes = CONTEXT.Pipe(duplex=False)
    stream = os.fdopen(os.dup(reads.fileno()), "r", encoding="utf-8")
    reads.close()
    return stream, writes


def _run(
    target: Callable[..., None],
    arguments: tuple[str, ...],
    environment: Mapping[str, str],
    folder: str,
    out: Connection,
    errors: Connection,
) -> None:
    for connection, descriptor in ((out, 1), (errors, 2)):
        os.dup2(connection.fileno(), descriptor)
        connection.close()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    target(*arguments)


def dicomnode(*arguments: str) -> None:
    """Be the command ``dicomnode``."""
    from dicomnode.cli.main import main

    sys.argv = ["dicomnode", *arguments]
    main()
