"""The receivers compared, each in a process of its own with an empty folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import IO

TITLE = "BENCH"
START_SECONDS = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")


def program(name: str) -> str | None:
    """Find a peer's program; pynetdicom installs some of the same names in the environment."""
    return shutil.which(name, path=f"{os.defpath}:/usr/sbin:/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Receiver:
    """A running receiver."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        """User and system time of its processes so far."""
        return sum(_cpu_seconds(pid) for pid in _family(self.pid))

    def peak_mib(self) -> float:
        return sum(_peak_mib(pid) for pid in _family(self.pid))


def _family(pid: int) -> list[int]:
    # By whichever of its threads they were started.
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    children = [child for each in tasks for child in each.read_text().split()]
    return [pid, *(each for child in children for each in _family(int(child)))]


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Its own, and that of children that have ended (storescp --fork makes one an association).
    return sum(int(each) for each in fields[11:15]) / _TICKS


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


@contextmanager
def ours(folder: Path, *, data_path: str = "fast") -> Iterator[Receiver]:
    command = [sys.executable, "-m", "tests.support.receiver_process", str(folder), data_path]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the receiver has no pipes")
    try:
        yield Receiver(int(process.stdout.readline().split()[1]), process.pid)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@contextmanager
def bare(folder: Path) -> Iterator[Receiver]:
    """The limit: one loop that does nothing but what must be done."""
    with _telling([sys.executable, "-m", "benchmarks.receive.bare", str(folder)]) as (pid, told):
        yield Receiver(int(told.readline().split()[1]), pid)


@contextmanager
def ours_as_command(folder: Path, *, processes: int) -> Iterator[Receiver]:
    """The command ``dicomnode receive``, which alone has several processes."""
    config = folder / "dicomnode.toml"
    config.write_text(f"""
data_dir = "{folder / "data"}"
[receive]
port = 0
processes = {processes}
max_associations = 100
reserve_bytes = 0
headroom_bytes = 0
[log]
level = "error"
[pipelines.bench]
ae_title = "{TITLE}"
destinations = ["share"]
[pipelines.bench.completion]
quiet_seconds = 3600.0
deadline_seconds = 7200.0
[destinations.share]
kind = "folder"
path = "{folder / "share"}"
""")
    command = [sys.executable, "-m", "dicomnode", "receive", "--config", str(config)]
    with _telling(command) as (pid, told):
        lines = list(iter(told.readline, "ready\n"))
        yield Receiver(int(lines[0].rpartition(":")[2]), pid)


@contextmanager
def _telling(command: list[str]) -> Iterator[tuple[int, IO[str]]]:
    """Run what says itself where it listens; yield its identifier and what it says."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if process.stdout is None:
        raise RuntimeError("the receiver has no pipe")
    try:
        yield process.pid, process.stdout
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


@contextmanager
def _started(command: list[str], port: int, cwd: Path) -> Iterator[Receiver]:
    process = subprocess.Popen(
        command,
        cwd=cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # DCMTK leaves Nagle's algorithm on, and would answer 25 times a second.
        env=os.environ | {"TCP_NODELAY": "1"},
    )
    try:
        _wait_for(port, process)
        yield Receiver(port, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    pause, deadline = Event(), time.monotonic() + START_SECONDS
    echo = [program("echoscu"), "-aec", TITLE, "127.0.0.1", str(port)]
    while subprocess.run(echo, capture_output=True, check=False).returncode:
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not answer")
        pause.wait(0.05)  # another process: nothing to wait on


def dcmtk(folder: Path, *, fork: bool = False):
    port = free_port()
    options = ["--fork"] if fork else []
    command = [program("storescp"), "+B", "-pdu", "131072", "-od", str(folder), *options, str(port)]
    return _started(command, port, folder)


def orthanc(folder: Path, *, sync: bool = True):
    port, configuration = free_port(), folder / "orthanc.json"
    configuration.write_text(
        json.dumps(
            {
                "Name": TITLE,
                "DicomAet": TITLE,
                "DicomPort": port,
                "HttpServerEnabled": False,
                "StorageDirectory": str(folder),
                "IndexDirectory": str(folder),
                "SyncStorageArea": sync,
                "DicomAlwaysAllowStore": True,
                "DicomAlwaysAllowEcho": True,
                "MaximumPduLength": 131072,
                "Plugins": [],
            }
        )
    )
    return _started([program("Orthanc"), str(configuration)], port, folder)


def pynetdicom_app(folder: Path):
    port = free_port()
    command = [sys.executable, "-m", "pynetdicom", "storescp", "-q", "-od", str(folder)]
    return _started([*command, "-aet", TITLE, str(port)], port, folder)
