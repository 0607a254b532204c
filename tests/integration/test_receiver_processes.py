"""Several receiver processes behind one port: one node to its peers, whatever becomes of one."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dicomnode.spool.digest import Digest
from dicomnode.spool.part10 import read_stored
from tests.integration.test_receive_kill import Sender
from tests.support.raw_sender import AssociationRejected, Instance, RawAssociation
from tests.support.receiver_process import TITLE
from tests.support.workers import wait_until

STRICT = "STRICT"
SERIES = "1.2.50.1"


@dataclass
class Node:
    """``dicomnode receive`` with several processes."""

    process: subprocess.Popen[str]
    port: int
    log: Path
    data: Path

    def others(self) -> list[int]:
        """Return the further processes that live."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task").glob("*/children")
        found = [int(each) for path in children for each in path.read_text().split()]
        return [each for each in found if b"receiver_process" in command_of(each)]

    def associations(self) -> Counter[int]:
        """Return how many connections each process has open."""
        here = f"0100007F:{self.port:04X}"
        rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        inodes = {row[9] for row in rows if row[1] == here and row[3] == "01"}
        found: Counter[int] = Counter()
        for pid in (self.process.pid, *self.others()):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                try:
                    target = str(descriptor.readlink())
                except FileNotFoundError:
                    continue
                found[pid] += target.startswith("socket:[") and target[8:-1] in inodes
        return found

    def rows(self, query: str) -> list[tuple]:
        with sqlite3.connect(self.data / "dicomnode.sqlite", timeout=30) as database:
            found = database.execute(query).fetchall()
        database.close()
        return found


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def start_node(folder: Path, stack: ExitStack) -> Node:
    config, log = folder / "dicomnode.toml", folder / "node.log"
    config.write_text(f"""
data_dir = "{folder / "data"}"
drain_seconds = 2.0
[receive]
port = 0
processes = 2
max_associations = 4
max_associations_per_peer = 4
reserve_bytes = 0
headroom_bytes = 0
[log]
form = "json"
[pipelines.plain]
ae_title = "{TITLE}"
destinations = ["share"]
[pipelines.plain.completion]
quiet_seconds = 0.3
[pipelines.strict]
ae_title = "{STRICT}"
destinations = ["share"]
duplicates = "refuse"
[destinations.share]
kind = "folder"
path = "{folder / "share"}"
""")
    process = subprocess.Popen(
        [sys.executable, "-m", "dicomnode", "receive", "--config", str(config)],
        stdout=subprocess.PIPE,
        stderr=stack.enter_context(log.open("a")),
        text=True,
    )
    stack.callback(end, process)
    lines = list(iter(process.stdout.readline, "ready\n"))
    return Node(process, int(lines[0].rpartition(":")[2]), log, folder / "data")


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """One for the tests that leave it whole."""
    with ExitStack() as stack:
        yield start_node(tmp_path_factory.mktemp("node"), stack)


@pytest.fixture
def start(tmp_path):
    with ExitStack() as stack:
        yield lambda: start_node(tmp_path, stack)


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(10)
    process.stdout.close()


def associate_with_each(
    node: Node, stack: ExitStack, *, called: str = TITLE
) -> dict[int, RawAssociation]:
    """Open associations until both processes have one; return one of each by process."""
    found: dict[int, RawAssociation] = {}
    for _ in range(60):
        before = node.associations()
        association = stack.enter_context(RawAssociation(node.port, called))
        (pid,) = (node.associations() - before).keys()
        if pid in found:
            association.release()
            association.socket.close()
            wait_until(lambda: node.associations().total() == len(found), 20, "it was gone")
        found.setdefault(pid, association)
        if len(found) == 2:
            return found
    raise AssertionError(f"all associations came to {found.keys()}")


def test_processes_share_port_limits_and_series(node):
    with ExitStack() as stack:
        one, two = associate_with_each(node, stack).values()
        more = [stack.enter_context(RawAssociation(node.port, TITLE)) for _ in range(2)]
        with pytest.raises(AssociationRejected):
            RawAssociation(node.port, TITLE)

        for number in range(1, 9):
            to = (one, two)[number % 2]
            assert to.store(Instance(f"1.2.40.{number}", SERIES)) == 0x0000
        for each in (one, two, *more):
            each.release()
        found = (
            "select instance_count, revision, state from series "
            "where series_instance_uid = '1.2.50.1'"
        )
        wait_until(
            lambda: node.rows(found) == [(8, 1, "closed")], 20, "the series over both was one"
        )


def test_other_content_under_one_uid_is_refused_whichever_process_has_the_first(node):
    with ExitStack() as stack:
        one, two = associate_with_each(node, stack, called=STRICT).values()
        statuses = []
        for number in range(12):
            instance = Instance(f"1.2.41.{number}", "1.2.50.2")
            first, second = (one, two) if number % 2 else (two, one)
            statuses.append(
                (first.store(instance), second.store(replace(instance, pixel_bytes=200)))
            )
            assert first.store(instance) == 0x0000
    assert statuses == [(0x0000, 0x0111)] * 12


def test_other_content_under_one_uid_is_set_aside_whichever_process_has_the_first(node):
    with ExitStack() as stack:
        one, two = associate_with_each(node, stack).values()
        for number in range(4):
            instance = Instance(f"1.2.42.{number}", "1.2.50.3")
            assert one.store(instance) == 0x0000
            assert two.store(replace(instance, series_instance_uid="1.2.50.4")) == 0x0000
    wait_until(
        lambda: len(list(node.data.glob("quarantine/*.json"))) == 4, 20, "all were set aside"
    )
    rows = node.rows("select series_instance_uid, key from instance where pipeline = 'plain'")
    rows = [row for row in rows if row[0] in {"1.2.50.3", "1.2.50.4"}]
    files = [*node.data.glob("instances/*/1.2.50.3/*"), *node.data.glob("instances/*/1.2.50.4/*")]
    assert sorted(key for _, key in rows) == sorted(
        path.relative_to(node.data).as_posix() for path in files
    )
    assert len(rows) == 4
    notes = node.rows(
        "select kind, times from reception_note where sop_instance_uid like '1.2.42%'"
    )
    assert notes == [("kept-first", 1)] * 4


def test_a_process_that_dies_is_replaced_and_its_seats_and_series_taken_over(start):
    node = start()
    (other,) = node.others()
    with ExitStack() as stack:
        found = associate_with_each(node, stack)
        for _ in range(2):
            stack.enter_context(RawAssociation(node.port, TITLE))
        with pytest.raises(AssociationRejected):
            RawAssociation(node.port, TITLE)
        assert found[other].store(Instance("1.2.40.1", SERIES)) == 0x0000
        os.kill(other, signal.SIGKILL)

        # Its association is open no more, so there is room for another, and nobody waits for it.
        wait_until(lambda: '"receiver_process_died"' in node.log.read_text(), 20, "it was noticed")
        wait_until(
            lambda: node.rows("select instance_count, state from series") == [(1, "closed")],
            20,
            "its series was closed",
        )
        with RawAssociation(node.port, TITLE) as another:
            assert another.store(Instance("1.2.40.2", SERIES)) == 0x0000
            another.release()
    wait_until(lambda: node.log.read_text().count("receiver_process_ready") == 2, 60, "replaced")
    (another,) = node.others()
    assert another != other

    node.process.kill()
    wait_until(lambda: not command_of(another), 20, "with the first process the other ended")


@pytest.mark.parametrize(
    "kills", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_nothing_acknowledged_by_two_processes_is_lost_or_doubled(start, kills):
    """One of two is killed at a random moment, under load; in the end both are."""
    moments = random.Random(kills)  # noqa: S311 - moments, no secrets
    node = start()
    at_full_speed, stop, pause = threading.Event(), threading.Event(), threading.Event()
    senders = [Sender(number, at_full_speed) for number in range(4)]

    def send(sender: Sender) -> None:
        while not stop.is_set():
            sender.send(node.port, threading.Event())

    threads = [threading.Thread(target=send, args=(each,)) for each in senders]
    for thread in threads:
        thread.start()
    try:
        for number in range(1, kills + 1):
            wait_until(
                lambda number=number: (
                    node.log.read_text().count("receiver_process_ready") == number
                ),
                60,
                "both were up",
            )
            at_full_speed.set()
            pause.wait(moments.uniform(0.0, 0.4))  # the moment is what varies
            (other,) = node.others()
            os.kill(other, signal.SIGKILL)
            at_full_speed.clear()
            wait_until(
                lambda number=number: node.log.read_text().count("receiver_process_died") == number,
                60,
                "it was noticed",
            )
    finally:
        stop.set()
        node.process.kill()
        for thread in threads:
            thread.join(30)
    node.process.wait(10)

    before = len(node.log.read_text())
    node = start()
    acknowledged = [instance for sender in senders for instance in sender.acknowledged]
    assert len(acknowledged) >= kills
    rows = {
        uid: (series, digest, key)
        for uid, series, digest, key in node.rows(
            "select sop_instance_uid, series_instance_uid, digest, key from instance"
        )
    }
    for instance in acknowledged:
        series, digest, key = rows[instance.sop_instance_uid]
        assert (series, digest) == (instance.series_instance_uid, instance.digest)
        assert Digest(read_stored(node.data / key)[2]).hexdigest() == digest
    files = Counter(path.name.rsplit(".", 2)[0] for path in node.data.glob("instances/*/*/*"))
    assert files == Counter(rows.keys())
    counts = dict(node.rows("select series_instance_uid, instance_count from series"))
    assert counts == Counter(series for series, _, _ in rows.values())

    # Both drain and end together.
    (other,) = node.others()
    node.process.send_signal(signal.SIGTERM)
    assert node.process.wait(30) == 0
    assert not command_of(other)
    with pytest.raises(ConnectionRefusedError):
        RawAssociation(node.port, TITLE)
    assert '"level": "error"' not in node.log.read_text()[before:]
