"""SIGKILL in every step, on both databases: done steps stay done, others are repeated, all ends.

In a campaign each series has a point at which its worker dies, once.  Two workers and a closer are
started again whenever they die.  A few points are always tried, all of them in the slow campaign.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest
from pynetdicom import evt

from dicomnode.database.delivery_rows import list_attempts
from dicomnode.database.job_rows import list_deliveries, list_jobs
from dicomnode.database.series_rows import list_series
from tests.support.ct import asymmetric_hu, make_series
from tests.support.pacs import FlakyPacs
from tests.support.workers import (
    Crew,
    Journal,
    Spec,
    opened,
    receive,
    run_closer,
    run_worker,
    wait_until,
)

MOMENTS = ("begin", "end", "kept")
STEPS = ("assemble", "infer", "results", "hand_over", "send")
POINTS = (
    "close:end",  # between closing and enqueuing on one side and the commit on the other
    *(f"{step}:{moment}" for step in STEPS for moment in MOMENTS),
    "accepted:end",  # the peer has the object, the ledger does not know
    *(f"wait:{moment}" for moment in MOMENTS),
    *(f"again:{moment}" for moment in MOMENTS),
)
FEW_POINTS = (
    "close:end",
    "infer:end",
    "results:kept",
    "hand_over:end",
    "send:begin",
    "accepted:end",
    "again:kept",
)
WAITING_SLICES = 11
SECONDS = 90.0


class RefusesFirst(FlakyPacs):
    """Has no room for anything until `makes_room` is set.

    A worker that hears of it may die of another series before it decides to try again, so once
    is not enough.
    """

    def __init__(self) -> None:
        super().__init__(ae_title="SHAKY")
        self.makes_room = threading.Event()

    def _stored(self, event: evt.Event) -> int:
        if not self.makes_room.is_set():
            self.attempts += 1
            return 0xA700
        return super()._stored(event)


@dataclass(frozen=True)
class Campaign:
    """What was left after all deaths."""

    series: dict[str, str]  # point -> Series Instance UID
    journal: list[tuple[float, int, str, str, str]]
    received: Counter[str]
    states: dict[str, str]  # series -> state of its job
    deliveries: dict[str, list[str]]
    sent_objects: dict[str, list[str]]  # series -> SOP Instance UIDs on record
    killed: set[str]
    deaths: int
    left_open: int
    work_left: list[str]

    def repeated_though_kept(self) -> list[tuple[str, str]]:
        """Return the workflows and steps that were begun again after their result was kept."""
        kept: set[tuple[str, str]] = set()
        repeated = []
        for _at, _pid, workflow, step, what in self.journal:
            if what == "kept":
                kept.add((workflow, step))
            elif (workflow, step) in kept:
                repeated.append((workflow, step))
        return repeated

    def resumed(self) -> set[str]:
        """Return the points at which a step was begun by two processes."""
        return {point for point, uid in self.series.items() if len(self._pids(point, uid)) > 1}

    def _pids(self, point: str, uid: str) -> set[int]:
        begin = f"{point.split(':', maxsplit=1)[0]}:begin"
        return {
            pid
            for _at, pid, workflow, name, what in self.journal
            if (workflow.split(":")[0], f"{name}:{what}") == (uid, begin)
        }


def write_config(folder: Path, url: str, pacs: FlakyPacs, shaky: FlakyPacs) -> Path:
    path = folder / "dicomnode.toml"
    path.write_text(f"""
data_dir = "{folder / "data"}"
[database]
url = "{url}"
[pipelines.plain]
ae_title = "PLAIN"
destinations = ["pacs"]
[pipelines.plain.completion]
quiet_seconds = 0.2
[pipelines.shaky]
ae_title = "SHAKY"
destinations = ["shaky"]
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
first_retry_seconds = 0.3
[destinations.shaky]
kind = "dimse"
ae_title = "SHAKY"
host = "127.0.0.1"
port = {shaky.port}
max_attempts = 100
first_retry_seconds = 0.3
longest_retry_seconds = 0.5
""")
    return path


def run_campaign(folder: Path, url: str, points: tuple[str, ...]) -> Campaign:
    with FlakyPacs() as pacs, RefusesFirst() as shaky:
        config = write_config(folder, url, pacs, shaky)
        series: dict[str, str] = {}
        for number, point in enumerate(points):
            hu = asymmetric_hu((WAITING_SLICES if point.startswith("wait") else 9, 23, 17))
            hu[0, 0, 0] += number
            paths = make_series(folder / "ct" / str(number), hu=hu, seed=number)
            pipeline = "shaky" if point.startswith("again") else "plain"
            is_closed = not point.startswith("close")
            series[point] = receive(config, paths, pipeline=pipeline, close=is_closed)
        spec = Spec(
            config=config,
            folder=folder,
            kills={uid: point for point, uid in series.items()},
            unavailable_slices=WAITING_SLICES,
        )
        with Crew() as crew, opened(config) as (_settings, database):
            crew.add("closer", run_closer, spec)
            crew.add("one", run_worker, spec)
            crew.add("two", run_worker, spec)

            again = {uid for point, uid in series.items() if point.startswith("again")}

            def is_over() -> bool:
                dead = {each.name for each in (folder / "killed").glob("*")}
                if again <= dead:
                    shaky.makes_room.set()
                with database.begin() as transaction:
                    jobs = list_jobs(transaction)
                    rows = [each for job in jobs for each in list_deliveries(transaction, job.id)]
                return len(dead) == len(jobs) == len(rows) == len(points) and all(
                    each.state == "delivered" for each in rows
                )

            wait_until(is_over, SECONDS, "everything was delivered")
            deaths = crew.deaths
        with opened(config) as (settings, database), database.begin() as transaction:
            jobs = list_jobs(transaction)
            return Campaign(
                series=series,
                journal=Journal(folder / "journal").read(),
                received=Counter(pacs.uids() + shaky.uids()),
                states={job.series_instance_uid: job.state for job in jobs},
                deliveries={
                    job.series_instance_uid: [
                        each.state for each in list_deliveries(transaction, job.id)
                    ]
                    for job in jobs
                },
                sent_objects={
                    job.series_instance_uid: [
                        each["sop_instance_uid"]
                        for row in list_attempts(transaction, job.id)
                        for each in row.objects
                        if each["accepted"]
                    ]
                    for job in jobs
                },
                killed={each.name for each in (folder / "killed").iterdir()},
                deaths=deaths,
                left_open=len(list_series(transaction, state="open")),
                work_left=[each.name for each in (settings.data_dir / "work").iterdir()],
            )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(("sqlite", FEW_POINTS), id="sqlite"),
        pytest.param(("postgresql", FEW_POINTS), id="postgresql"),
        pytest.param(("sqlite", POINTS), id="sqlite-all", marks=pytest.mark.slow),
        pytest.param(("postgresql", POINTS), id="postgresql-all", marks=pytest.mark.slow),
    ],
)
def campaign(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    kind, points = request.param
    url = "sqlite"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres").new_database()
    return run_campaign(tmp_path_factory.mktemp("kills"), url, points)


def test_every_point_was_reached_and_every_job_ended_well(campaign: Campaign):
    assert {p for p, uid in campaign.series.items() if uid not in campaign.killed} == set()
    assert campaign.deaths >= len(campaign.series)
    assert set(campaign.states.values()) == {"done"}
    assert campaign.left_open == 0
    assert campaign.work_left == []


def test_a_kept_step_is_never_begun_again(campaign: Campaign):
    assert campaign.repeated_though_kept() == []


def test_an_interrupted_step_is_begun_again_by_a_living_worker(campaign: Campaign):
    interrupted = {each for each in campaign.series if each.endswith((":begin", ":end"))}

    # Closing is no step, and the peer's acceptance is within one.
    assert campaign.resumed() >= interrupted - {"close:end", "accepted:end"}


def test_each_object_reaches_its_destination_once_but_for_the_one_window(campaign: Campaign):
    twice = {uid for uid, count in campaign.received.items() if count > 1}
    begun = Counter(
        workflow.split(":")[0]
        for _at, _pid, workflow, step, what in campaign.journal
        if (step, what) == ("send", "begin")
    )
    # A worker that dies in an analysis may be within the window of another series' delivery.
    too_often = {
        uid
        for uid, objects in campaign.sent_objects.items()
        if max(campaign.received[each] for each in objects) > begun[uid]
    }

    assert len(campaign.received) == 2 * len(campaign.series)
    assert twice.intersection(campaign.sent_objects[campaign.series["accepted:end"]])
    assert too_often == set()
