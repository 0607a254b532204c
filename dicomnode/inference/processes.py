"""Looking at the processes of the embedded server.  Reads /proc, changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process as proc(5) shows it.

    Attributes
    ----------
    pid, parent_pid : int
    name : str
        At most 15 characters.
    is_dead : bool
        Whether it ended and its parent has not asked for its status.
    """

    pid: int
    parent_pid: int
    name: str
    is_dead: bool


def descendants(pid: int) -> tuple[Process, ...]:
    """Return the children of a process and theirs, at this moment."""
    everything = list(_processes())
    found: list[Process] = []
    parents = {pid}
    while parents:
        children = [each for each in everything if each.parent_pid in parents]
        found.extend(children)
        parents = {each.pid for each in children}
    return tuple(found)


def dead_descendants(pid: int) -> frozenset[int]:
    """Return the processes below the children of `pid` that ended and nobody took note of."""
    return frozenset(
        each.pid for each in descendants(pid) if each.is_dead and each.parent_pid != pid
    )


def _processes() -> Iterator[Process]:
    for folder in _PROC.glob("[0-9]*"):
        try:
            text = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended meanwhile
        # The name stands in parentheses and may hold any character, these included.
        head, _, tail = text.rpartition(")")
        number, _, name = head.partition(" (")
        state, parent = tail.split()[:2]
        yield Process(pid=int(number), parent_pid=int(parent), name=name, is_dead=state in "ZX")
