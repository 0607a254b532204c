"""The receiver is killed at random moments: what it acknowledged is there, whole, exactly once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicomnode.spool.digest import Digest
from dicomnode.spool.part10 import read_stored
from tests.support.raw_sender import Instance, RawAssociation
from tests.support.receiver_process import TITLE

ROOT = Path(__file__).parents[2]
ASSOCIATIONS = 4
SERIES = 3


@dataclass
class Sender:
    """One of the senders, as a modality is: what was not acknowledged is sent again first.

    While `at_full_speed` is not set, an instance is sent now and then: campaigns must not fill
    the disk while nothing is killed.
    """

    number: int
    at_full_speed: threading.Event = field(default_factory=threading.Event)
    acknowledged: list[Instance] = field(default_factory=list)
    checked: int = 0
    open: list[Instance] = field(default_factory=list)
    count: int = 0

    def send(self, port: int, has_acknowledged: threading.Event) -> None:
        again, self.open = self.open, []
        try:
            with RawAssociation(port, TITLE) as association:
                while True:
                    self.at_full_speed.wait(0.1)
                    instance = again.pop() if again else self._next()
                    self.open.append(instance)
                    if association.store(instance) == 0x0000:
                        self.acknowledged.append(instance)
                        self.open.remove(instance)
                        has_acknowledged.set()
        except OSError:
            # Killed, which is what this is about; or rejected, while what was killed counts still.
            self.open += again

    def _next(self) -> Instance:
        self.count += 1
        uid = f"1.2.40.{self.number + 1}.{self.count}"
        # Each series comes over all associations.  Of one PDU up to three.
        pixel_bytes = 2_000 + 997 * self.count % 30_000
        return Instance(uid, f"1.2.50.{self.count % SERIES + 1}", pixel_bytes)


@pytest.mark.parametrize(
    ("data_path", "kills"),
    [
        ("fast", 10),
        ("pynetdicom", 3),
        pytest.param("fast", 200, marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_nothing_acknowledged_is_lost_or_doubled(
    tmp_path, data_path, kills, record_testsuite_property
):
    moments = random.Random(kills)  # noqa: S311 - moments, no secrets
    at_full_speed = threading.Event()
    at_full_speed.set()
    senders = [Sender(number, at_full_speed) for number in range(ASSOCIATIONS)]
    pause = threading.Event()
    spool = tmp_path / "data"
    command = [
        sys.executable,
        "-m",
        "tests.support.receiver_process",
        str(spool),
        data_path,
        "--fork",
    ]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as forker:
        for kill in range(kills):
            pid, port = start_receiver(forker)
            check(spool, senders)
            has_acknowledged = threading.Event()
            threads = [
                threading.Thread(target=each.send, args=(port, has_acknowledged))
                for each in senders
            ]
            for thread in threads:
                thread.start()
            assert has_acknowledged.wait(30), f"nothing was acknowledged before kill {kill}"
            pause.wait(moments.uniform(0.0, 0.4))  # the moment is what varies
            os.kill(pid, signal.SIGKILL)
            for thread in threads:
                thread.join(30)
                assert not thread.is_alive()
        pid, _ = start_receiver(forker)
        check(spool, senders, whole=True)
        os.kill(pid, signal.SIGKILL)
        forker.stdin.close()
    acknowledged = sum(len(each.acknowledged) for each in senders)
    record_testsuite_property(f"acknowledged instances, {data_path}, {kills} kills", acknowledged)
    assert acknowledged >= kills


def start_receiver(forker) -> tuple[int, int]:
    """Return process identifier and port; they are printed by two processes, in any order."""
    forker.stdin.write("\n")
    forker.stdin.flush()
    lines = [forker.stdout.readline().split() for _ in range(2)]
    found = {name: int(value) for name, value in lines}
    return found["pid"], found["port"]


def check(spool: Path, senders: list[Sender], *, whole: bool = False) -> None:
    """Hold files and rows against what the senders were told, before anything else is sent.

    Content is read of what came since the last check, or of all.
    """
    assert list(spool.glob("incoming/*")) == []
    with sqlite3.connect(spool / "dicomnode.sqlite") as database:
        rows = {
            uid: (series, digest, key)
            for uid, series, digest, key in database.execute(
                "select sop_instance_uid, series_instance_uid, digest, key from instance"
            )
        }
        counts = dict(
            database.execute("select series_instance_uid, instance_count from series").fetchall()
        )
    database.close()
    files = Counter(path.name.rsplit(".", 2)[0] for path in spool.glob("instances/*/*/*"))
    for sender in senders:
        for number, instance in enumerate(sender.acknowledged):
            series, digest, key = rows[instance.sop_instance_uid]
            assert series == instance.series_instance_uid
            assert files[instance.sop_instance_uid] == 1
            if whole or number >= sender.checked:
                assert digest == instance.digest
                assert Digest(read_stored(spool / key)[2]).hexdigest() == digest
        sender.checked = len(sender.acknowledged)
    assert files == Counter(rows.keys())
    assert counts == Counter(series for series, _, _ in rows.values())
