"""How fast, at what cost: our receiver beside its peers, interleaved.

    python -m benchmarks.receive [--where ram disk] [--associations 1 4 8] [--repeats 5]

Each round starts every receiver once, one after the other, with an empty folder on the same disk,
and has the same senders send it the same series.  The table has medians over the rounds, and
ratios to DCMTK's storescp within each round: those hold on a machine that is shared, the figures
do not.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from functools import partial
from pathlib import Path

from benchmarks.receive import receivers
from benchmarks.receive.series import BATCHES, make_series, share

SERIAL, FORKED = "storescp +B", "storescp +B --fork"
ONE, TWO = "ours, fast", "ours, fast, 2 processes"
LIMIT = "limit: a bare loop"
KINDS = {
    ONE: receivers.ours,
    TWO: partial(receivers.ours_as_command, processes=2),
    LIMIT: receivers.bare,
    "ours, pynetdicom": partial(receivers.ours, data_path="pynetdicom"),
    SERIAL: receivers.dcmtk,
    FORKED: partial(receivers.dcmtk, fork=True),
    "Orthanc, synced": receivers.orthanc,
    "Orthanc, not synced": partial(receivers.orthanc, sync=False),
    "pynetdicom storescp": receivers.pynetdicom_app,
}

NEEDS = {
    SERIAL: "storescp",
    FORKED: "storescp",
    "Orthanc, synced": "Orthanc",
    "Orthanc, not synced": "Orthanc",
}
"""Programs of peers, which may not be installed."""


def send_by_storescu(port: int, shares: list[list[Path]]) -> float:
    """Send with DCMTK's storescu, one process an association; return the seconds it took."""
    # Without this the sender's Nagle algorithm and the receiver's delayed ACKs are measured.
    environment = os.environ | {"TCP_NODELAY": "1"}
    target = ["-aec", receivers.TITLE, "-pdu", "131072", "127.0.0.1", str(port)]
    begin = time.perf_counter()
    senders = [
        subprocess.Popen(
            [receivers.program("storescu"), *target, *map(str, files)], env=environment
        )
        for files in shares
    ]
    codes = [each.wait(600) for each in senders]
    seconds = time.perf_counter() - begin
    if any(codes):
        raise RuntimeError(f"storescu ended with {codes}")
    return seconds


def send_prepared(port: int, shares: list[list[Path]]) -> float:
    """Send prepared PDUs, one process an association; return the seconds to the last answer.

    The processes' own ends, when they give their memory back, are not in it.
    """
    command = [sys.executable, "-m", "benchmarks.receive.fast_sender", "127.0.0.1", str(port)]
    senders = [
        subprocess.Popen(
            [*command, receivers.TITLE, *map(str, files)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for files in shares
    ]
    for each in senders:
        if each.stdout is None or each.stdout.readline() != "ready\n":
            raise RuntimeError("a sender could not associate")
    begins, ends = [], []
    for each in senders:
        if each.stdin is not None:
            each.stdin.write("\n")
            each.stdin.flush()
    for each in senders:
        output, _ = each.communicate(timeout=600)
        if each.returncode:
            raise RuntimeError("a sender was not told Success for each instance")
        begin, end = map(float, output.split())
        begins.append(begin)
        ends.append(end)
    return max(ends) - min(begins)


SENDERS = {"storescu": send_by_storescu, "prepared": send_prepared}


def run(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as scratch:
        batches = make_series(Path(scratch), options.instances)
        first = make_series(Path(scratch) / "first", BATCHES)[0]
        count = sum(map(len, batches))
        places = {
            "ram": Path(scratch) / "spool",
            "disk": options.disk.resolve() / f"bench-{os.getpid()}",
        }
        print(f"{describe_machine()}; {count} instances of {batches[0][0].stat().st_size} bytes")
        for where in options.where:
            for sender in options.sender:
                for associations in options.associations:
                    measure(
                        options, where, places[where], sender, first, share(batches, associations)
                    )


def measure(options, where, folder, sender, first, shares) -> None:
    rates, cpu, peak = defaultdict(list), defaultdict(list), defaultdict(list)
    count = sum(map(len, shares))
    for _ in range(options.repeats):
        for name in options.receivers:
            if len(shares) == 1 and name in {FORKED, TWO}:
                continue
            if len(shares) > 1 and name == SERIAL and sender == "prepared":
                continue  # it takes one association at a time, and these all wait for each other
            if name == LIMIT and (len(shares) > 1 or sender != "prepared"):
                continue  # it takes one association, and of these PDUs only
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            with KINDS[name](folder) as receiver:
                # What only the first instance of a process costs is left out, for all alike.
                SENDERS[sender](receiver.port, [first])
                before = receiver.cpu_seconds()
                seconds = SENDERS[sender](receiver.port, shares)
                cpu[name].append((receiver.cpu_seconds() - before) / count * 1000)
                peak[name].append(receiver.peak_mib())
            rates[name].append(count / seconds)
    shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{where}, {sender}, {len(shares)} association(s), {options.repeats} rounds\n")
    print("| receiver | instances/s | of storescp +B | of Orthanc, synced | CPU s/1,000 | MiB |")
    print("|---|---|---|---|---|---|")
    for name, found in rates.items():
        bases = (SERIAL if SERIAL in rates else FORKED, "Orthanc, synced")
        ratios = [ratio(found, rates.get(each)) for each in bases]
        print(
            f"| {name} | {statistics.median(found):.0f} | {' | '.join(ratios)} "
            f"| {statistics.median(cpu[name]):.2f} | {max(peak[name]):.0f} |",
            flush=True,
        )


def ratio(found: list[float], base: list[float] | None) -> str:
    if not base:
        return ""
    return f"{statistics.median(a / b for a, b in zip(found, base, strict=True)):.2f}"


def describe_machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    python = platform.python_version()
    return f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.release()}, Python {python}"


def main() -> None:
    present = [name for name in KINDS if name not in NEEDS or receivers.program(NEEDS[name])]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--where", nargs="+", choices=("ram", "disk"), default=["ram", "disk"])
    parser.add_argument("--associations", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--sender", nargs="+", choices=tuple(SENDERS), default=["storescu"])
    parser.add_argument("--receivers", nargs="+", choices=present, default=present)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--instances", type=int, default=304)
    parser.add_argument("--disk", type=Path, default=Path("build"))
    run(parser.parse_args())


if __name__ == "__main__":
    main()
