"""The parent of tritonserver: ends it, and all that it started, when the node is gone.

Run as a script in a process of its own (``python -I -S guardian.py FD PREFIX COMMAND...``), so it
imports the standard library only.  FD is the reading end of a pipe that the node keeps open: the
kernel closes it however the node ends, kill -9 included.  PREFIX begins the names of the shared
memory that this server and no other makes; a killed server leaves it.

A signal on the death of a parent (PR_SET_PDEATHSIG) would be tied to the thread that started the
server and would not reach the server's own children.
"""

import ctypes
import os
import pathlib
import select
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(watched: int, prefix: str, command: list[str]) -> int:
    """Run `command` until it ends or `watched` closes; return its exit status, as a shell does."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Orphans of the server become our children, so that they are found and reaped.
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    own_pid = os.getpid()
    server = os.fork()
    if server == 0:
        os.close(watched)
        os.setpgid(0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != own_pid:  # the guardian died before the line above
            os._exit(1)
        os.execv(command[0], command)  # noqa: S606  no shell is wanted
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: _signal(server, received))
    status = _wait(server, watched)
    _end_group(server)
    for path in pathlib.Path("/dev/shm").glob(f"{prefix}*"):  # noqa: S108  POSIX shared memory
        path.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status) if status is not None else 1


def _wait(server: int, watched: int) -> int | None:
    """Return the server's wait status, or None if the node went first."""
    poller = select.poll()
    poller.register(os.pidfd_open(server), select.POLLIN)
    poller.register(watched, select.POLLHUP)
    ready = [descriptor for descriptor, _event in poller.poll()]
    if watched in ready:
        return None
    return os.waitpid(server, 0)[1]


def _end_group(server: int) -> None:
    """Kill the server and its children and wait until none is left."""
    _signal(-server, signal.SIGKILL)
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return  # it went first, which is what the signal was for


if __name__ == "__main__":
    code = main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
    # A server that was killed: the same, in a shell's words.
    sys.exit(code if code >= 0 else 128 - code)
