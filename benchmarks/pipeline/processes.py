"""What the processes of a run used: processor time and memory, as the kernel counts them.

Nothing is started or timed here.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def with_descendants(pids: Iterable[int]) -> set[int]:
    """Return the processes, and all that they started and that live."""
    parents = {int(path.name): _parent(path) for path in Path("/proc").glob("[0-9]*")}
    found: set[int] = set()
    left = set(pids)
    while left:
        found |= left
        left = {pid for pid, parent in parents.items() if parent in left} - found
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time of processes, that of their ended children included."""
    ticks = 0
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            stat = Path(f"/proc/{pid}/stat").read_text()
            # utime, stime, cutime and cstime: fields 14 to 17, counted behind the name.
            ticks += sum(int(each) for each in stat.rpartition(")")[2].split()[11:15])
    return ticks / _TICKS


def forget_peaks(pids: Iterable[int]) -> None:
    """Let the peaks of memory begin anew."""
    for pid in pids:
        with suppress(FileNotFoundError, ProcessLookupError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_mib(pids: Iterable[int]) -> int:
    """Return the largest that one of the processes was, shared memory included, in MiB."""
    return max((_kib(pid, "status", "VmHWM:") for pid in pids), default=0) >> 10


def held_mib(pids: Iterable[int]) -> int:
    """Return what processes hold now in all, in MiB; what they share counts once."""
    return sum(_kib(pid, "smaps_rollup", "Pss:") for pid in pids) >> 10


def _kib(pid: int, file: str, name: str) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0


def _parent(process: Path) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    return 0
