"""Senders that resend, two receivers, three workers, a flaky Triton, a flaky PACS, random SIGKILLs.

At the end every acknowledged instance is whole, every series has its results at the destination,
and what was sent twice is counted.  The counts are printed, whatever pytest captures.
"""

from __future__ import annotations

import gc
import hashlib
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pynetdicom import evt

from dicomnode.database.delivery_rows import list_attempts
from dicomnode.database.job_rows import list_deliveries, list_jobs
from dicomnode.database.series_rows import list_instances, list_series
from dicomnode.errors import SendError
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_stored
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.pacs import FlakyPacs
from tests.support.web_archive import free_port
from tests.support.workers import (
    Crew,
    Journal,
    ReceiverSpec,
    Spec,
    opened,
    run_receiver,
    run_worker,
    wait_until,
)

# pynetdicom leaves the socket of a refused connection to the garbage collector, which tells of it.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("collects_its_garbage"),
]

SENDERS = 3
SLICES = 8
WORKERS = ("worker-a", "worker-b", "worker-c")
RECEIVERS = ("receiver-a", "receiver-b")
SETTLED_SECONDS = 120.0


@pytest.fixture
def collects_its_garbage() -> Iterator[None]:
    """So that it is told of here, and not in a test that comes later."""
    yield
    gc.collect()


@dataclass(frozen=True, kw_only=True)
class Weather:
    """How rough it gets.  A job that dies five times with its worker is given up as poison."""

    seconds: float
    kill_every_seconds: tuple[float, float]
    series_every_seconds: float
    quiet_seconds: float = 3.0


SQUALL = Weather(
    seconds=6.0, kill_every_seconds=(1.0, 2.5), series_every_seconds=1.2, quiet_seconds=1.0
)
STORM = Weather(seconds=60.0, kill_every_seconds=(1.5, 4.0), series_every_seconds=3.0)
LONG_STORM = Weather(seconds=600.0, kill_every_seconds=(2.0, 6.0), series_every_seconds=3.0)


class HalfHearted(FlakyPacs):
    """Has no room for one object in five."""

    def _stored(self, event: evt.Event) -> int:
        if random.random() < 0.2:  # noqa: S311
            return 0xA700
        return super()._stored(event)


@dataclass
class Sent:
    """What the senders know: SHA-256 of each acknowledged data set by SOP Instance UID."""

    acknowledged: dict[str, str] = field(default_factory=dict)
    series: set[str] = field(default_factory=set)
    repeats: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def keep_sending(
    number: int,
    folder: Path,
    ports: list[int],
    sent: Sent,
    stop: threading.Event,
    pause_seconds: float,
) -> None:
    """Send one series after the other; what was not acknowledged is sent again, until it is."""
    count = 0
    while not stop.is_set():
        count += 1
        seed = 1000 * number + count
        paths = make_series(folder / str(seed), shape_kji=(SLICES, 23, 17), seed=seed)
        digests = {}
        for path in paths:
            _meta, identity, data_set = read_stored(path)
            digests[identity.sop_instance_uid] = (path, hashlib.sha256(data_set).hexdigest())
            uid = identity.series_instance_uid
        left = set(digests)
        while left:
            to = AEAddress("PLAIN", "127.0.0.1", random.choice(ports))  # noqa: S311
            acknowledged: set[str] = set()

            def note(outcome, taken=acknowledged) -> None:
                if outcome.accepted:
                    taken.add(outcome.sop_instance_uid)

            try:
                send_instances(
                    [digests[each][0] for each in sorted(left)],
                    to=to,
                    calling_ae_title="CT",
                    timeout_seconds=10,
                    on_sent=note,
                )
            except SendError:
                stop.wait(0.2)
            with sent.lock:
                sent.acknowledged |= {each: digests[each][1] for each in acknowledged}
                sent.repeats += len(left - acknowledged)
            left -= acknowledged
        with sent.lock:
            sent.series.add(uid)
        stop.wait(pause_seconds)


def run_chaos(folder: Path, url: str, weather: Weather) -> dict[str, float]:
    with HalfHearted() as pacs:
        config = folder / "dicomnode.toml"
        config.write_text(f"""
data_dir = "{folder / "data"}"
[database]
url = "{url}"
[receive]
reserve_bytes = 0
[pipelines.plain]
ae_title = "PLAIN"
destinations = ["pacs"]
[pipelines.plain.completion]
quiet_seconds = {weather.quiet_seconds}
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
max_attempts = 50
first_retry_seconds = 0.3
longest_retry_seconds = 2.0
""")
        spec = Spec(
            config=config, folder=folder, sweep_seconds=1.0, triton_seconds=0.2, fail_share=0.2
        )
        ports = [free_port() for _ in RECEIVERS]
        sent = Sent()
        stop = threading.Event()
        kills: list[tuple[float, int]] = []
        with Crew() as crew, opened(config) as (settings, database):
            for name, port in zip(RECEIVERS, ports, strict=True):
                receiver = ReceiverSpec(config=config, folder=folder, port=port)
                crew.add(name, run_receiver, receiver)
            for name in WORKERS:
                crew.add(name, run_worker, spec)
            senders = [
                threading.Thread(
                    target=keep_sending,
                    args=(
                        number,
                        folder / "ct",
                        ports,
                        sent,
                        stop,
                        weather.series_every_seconds,
                    ),
                )
                for number in range(1, SENDERS + 1)
            ]
            for each in senders:
                each.start()
            end = time.monotonic() + weather.seconds
            while time.monotonic() < end:
                stop.wait(random.uniform(*weather.kill_every_seconds))  # noqa: S311
                victim = random.choice(WORKERS + RECEIVERS)  # noqa: S311
                kills.append((time.time(), crew.kill(victim)))
            stop.set()
            for each in senders:
                each.join(60)
                assert not each.is_alive(), "a sender has not come to its end"

            def is_over() -> bool:
                with database.begin() as transaction:
                    series = list_series(transaction)
                    jobs = list_jobs(transaction)
                    rows = [each for job in jobs for each in list_deliveries(transaction, job.id)]
                return (
                    all(each.state == "closed" for each in series)
                    and all(job.state in {"done", "superseded"} for job in jobs)
                    and all(each.state == "delivered" for each in rows)
                )

            begin = time.monotonic()
            patience = max(SETTLED_SECONDS, weather.seconds)
            wait_until(is_over, patience, "all was done and delivered")
            settled = time.monotonic() - begin
        with opened(config) as (settings, database), database.begin() as transaction:
            store = InstanceStore(settings.data_dir, reserve_bytes=0)
            series = list_series(transaction)
            jobs = list_jobs(transaction)
            whole = 0
            for row in series:
                for ref in list_instances(transaction, "plain", row.series_instance_uid):
                    _meta, identity, data_set = read_stored(store.path(ref.key))
                    digest = hashlib.sha256(data_set).hexdigest()
                    whole += sent.acknowledged.get(identity.sop_instance_uid) == digest
            on_record = {
                job.id: {
                    each["sop_instance_uid"]
                    for row in list_attempts(transaction, job.id)
                    for each in row.objects
                    if each["accepted"]
                }
                for job in jobs
                if job.state == "done"
            }
        received = Counter(pacs.uids())
        journal = Journal(folder / "journal").read()
        resumed = _seconds_to_resume(journal, kills)
        done = {job.series_instance_uid: job for job in jobs if job.state == "done"}
        last = {row.series_instance_uid: row.digest for row in series}
        assert whole == len(sent.acknowledged)
        assert set(done) >= sent.series
        for uid in sent.series:
            assert any(j.digest == last[uid] and j.state == "done"
                       for j in jobs if j.series_instance_uid == uid)  # fmt: skip
        # A SEG and an SR of each; what a job superseded later had delivered before counts, too.
        assert {len(each) for each in on_record.values()} == {2}
        assert set(received) >= {uid for each in on_record.values() for uid in each}
        return {
            "kills": len(kills),
            "acknowledged": len(sent.acknowledged),
            "lost": len(sent.acknowledged) - whole,
            "sent again by senders": sent.repeats,
            "series": len(series),
            "jobs": len(jobs),
            "superseded": sum(job.state == "superseded" for job in jobs),
            "results delivered": len(received),
            "delivered twice": sum(count - 1 for count in received.values()),
            "steps resumed": len(resumed),
            "median seconds to resume": sorted(resumed)[len(resumed) // 2] if resumed else 0,
            "longest seconds to resume": max(resumed, default=0.0),
            "settled after seconds": round(settled, 1),
        }


def _seconds_to_resume(
    journal: list[tuple[float, int, str, str, str]], kills: list[tuple[float, int]]
) -> list[float]:
    """Return, for each step that a kill interrupted, the time until it was begun again."""
    found = []
    for killed_at, pid in kills:
        running: dict[tuple[str, str], str] = {}
        for at, each, workflow, step, what in journal:
            if each == pid and at <= killed_at and step != "worker":
                running[workflow, step] = what
        for (workflow, step), what in running.items():
            if what != "begin":
                continue
            later = [
                at
                for at, each, w, s, began in journal
                if (w, s, began) == (workflow, step, "begin") and at > killed_at and each != pid
            ]
            if later:
                found.append(round(min(later) - killed_at, 2))
    return found


@pytest.fixture
def check(
    tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]
) -> Callable[[Weather], None]:
    """Live through some weather, tell the counts, judge them."""

    def live_through(weather: Weather) -> None:
        counts = run_chaos(tmp_path, database_url, weather)
        told = ", ".join(f"{name} {count}" for name, count in counts.items())
        kind = "SQLite" if database_url == "sqlite" else "PostgreSQL"
        with capsys.disabled():
            sys.stdout.write(f"\n{weather.seconds:g} s of chaos on {kind}: {told}\n")
        assert counts["lost"] == 0
        assert counts["delivered twice"] <= counts["kills"]

    return live_through


def test_nothing_is_lost_in_a_short_chaos(check: Callable[[Weather], None]):
    check(SQUALL)


@pytest.mark.slow
def test_nothing_is_lost_in_a_minute_of_chaos(check: Callable[[Weather], None]):
    """What CI runs beside the suite, by `make test-chaos`."""
    check(STORM)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_nothing_is_lost_in_ten_minutes_of_chaos(check: Callable[[Weather], None]):
    check(LONG_STORM)
