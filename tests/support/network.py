"""Hosts as network namespaces of this machine, and processes within them.  Needs root."""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.workers import ReceiverSpec, Spec, run_receiver, run_worker

DATABASE_HOST = "198.18.9.1"
"""An address of this side that the hosts have a route to."""
_NEW_NETWORK = 0x40000000


class Network:
    """Hosts ``a``, ``b``, ...: each linked to this side and to nobody else.  A context manager."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._add(
                undo, f"addr add {DATABASE_HOST}/32 dev lo", f"addr del {DATABASE_HOST}/32 dev lo"
            )
            for number, name in enumerate(self._names, 1):
                space, link = self.space(name), f"{self.space(name)}v"
                here, there = f"198.18.{number}.1", f"198.18.{number}.2"
                self._add(undo, f"netns add {space}", f"netns del {space}")
                self._add(undo, f"link add {link} type veth peer name eth0 netns {space}", "")
                _ip(f"addr add {here}/24 dev {link}")
                _ip(f"link set {link} up")
                for command in (
                    f"addr add {there}/24 dev eth0",
                    "link set lo up",
                    "link set eth0 up",
                    f"route add default via {here}",
                ):
                    _ip(f"-n {space} {command}")
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._undo.close()

    def space(self, name: str) -> str:
        """Return the namespace of a host."""
        return f"dn{os.getpid()}{name}"

    def address(self, name: str) -> str:
        return f"198.18.{self._names.index(name) + 1}.2"

    def cut_off(self, name: str) -> None:
        """Drop, without a word, what a host sends to the database."""
        _ip(f"-n {self.space(name)} route add blackhole {DATABASE_HOST}")

    def mend(self, name: str) -> None:
        _ip(f"-n {self.space(name)} route del blackhole {DATABASE_HOST}")

    @staticmethod
    def _add(undo: ExitStack, command: str, back: str) -> None:
        _ip(command)
        if back:
            undo.callback(_ip, back)


def _ip(command: str) -> None:
    subprocess.run(["/sbin/ip", *command.split()], check=True, capture_output=True)


def can_have_networks() -> bool:
    """Whether this process may make network namespaces."""
    if os.geteuid() != 0 or not Path("/sbin/ip").exists():
        return False
    tried = f"dn{os.getpid()}try"
    made = subprocess.run(["/sbin/ip", "netns", "add", tried], check=False, capture_output=True)
    if made.returncode == 0:
        _ip(f"netns del {tried}")
    return made.returncode == 0


@dataclass(frozen=True, kw_only=True)
class Within:
    """What a process in a namespace is told."""

    space: str
    spec: Any


def run_receiver_within(told: Within) -> None:
    """Receive within a namespace."""
    assert isinstance(told.spec, ReceiverSpec)
    _enter(told.space)
    run_receiver(told.spec)


def run_worker_within(told: Within) -> None:
    """Work within a namespace."""
    assert isinstance(told.spec, Spec)
    _enter(told.space)
    run_worker(told.spec)


def _enter(space: str) -> None:
    # This thread's and its later threads': nothing else runs yet.
    with Path("/run/netns", space).open("rb") as file:
        failed = ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _NEW_NETWORK)
    if failed:
        raise OSError(ctypes.get_errno(), "setns")
