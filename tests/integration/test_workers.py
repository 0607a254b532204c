"""Workers that die, hang, are cut off or told to stop, on both databases."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import psycopg
import pytest

from dicomnode.config import SENDER
from dicomnode.database.job_rows import JobRow, list_deliveries, list_jobs, set_job
from dicomnode.database.retention_rows import hold_settled
from dicomnode.engine import JobQueue
from dicomnode.errors import StateError
from dicomnode.pipeline.steering import cancel_job, retry_job, send_job
from tests.support.ct import make_series
from tests.support.pacs import FlakyPacs
from tests.support.postgres import Postgres
from tests.support.workers import (
    Crew,
    Journal,
    Spec,
    opened,
    receive,
    run_worker,
    wait_until,
)

RESUMED_SECONDS = 10.0


class Site:
    """A configuration, a PACS, and jobs to be done."""

    def __init__(self, folder: Path, url: str, pacs: FlakyPacs) -> None:
        self.folder = folder
        self.url = url
        self.pacs = pacs
        self.config = folder / "dicomnode.toml"
        self.config.write_text(f"""
data_dir = "{folder / "data"}"
[database]
url = "{url}"
[pipelines.plain]
ae_title = "PLAIN"
destinations = ["pacs"]
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
first_retry_seconds = 0.3
""")
        self.journal = Journal(folder / "journal")
        self._parts = ExitStack()

    def __enter__(self) -> Self:
        _settings, self.database = self._parts.enter_context(opened(self.config))
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def submit(self, seed: int) -> str:
        paths = make_series(self.folder / "ct" / str(seed), seed=seed)
        return receive(self.config, paths, pipeline="plain")

    def spec(self, **named: object) -> Spec:
        return Spec(config=self.config, folder=self.folder, **named)  # type: ignore[arg-type]

    def job(self, uid: str) -> JobRow:
        with self.database.begin() as transaction:
            (job,) = list_jobs(transaction, series_instance_uid=uid)
            return job

    def is_asking(self, uid: str) -> bool:
        """Whether the models are being asked: the step is on record as begun."""
        job = self.job(uid)
        return (job.state, job.stage) == ("running", "infer")

    def is_delivered(self, uid: str) -> bool:
        with self.database.begin() as transaction:
            (job,) = list_jobs(transaction, series_instance_uid=uid)
            rows = list_deliveries(transaction, job.id)
            return [each.state for each in rows] == ["delivered"]

    def begun(self, uid: str, step: str) -> list[tuple[float, int]]:
        """Return when, and in which process, a step of a series was begun."""
        return [
            (at, pid)
            for at, pid, workflow, name, what in self.journal.read()
            if workflow.split(":")[0] == uid and (name, what) == (step, "begin")
        ]

    def steer(self, what: Callable[..., str], job_id: str) -> str:
        jobs = JobQueue(self.database)
        try:
            return what(self.database, jobs, job_id)
        finally:
            jobs.close()


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Site]:
    with FlakyPacs() as pacs, Site(tmp_path, database_url, pacs) as made:
        yield made


def test_another_worker_resumes_what_a_killed_one_left_within_ten_seconds(site: Site):
    with Crew() as crew:
        # As in operation: nothing is hastened.
        spec = site.spec(sweep_seconds=1.0, triton_seconds=0.8)
        crew.add("one", run_worker, spec)
        crew.add("two", run_worker, spec)
        wait_until(lambda: len(_workers(site)) == 2, 30, "both workers were up")
        uid = site.submit(1)
        wait_until(lambda: site.is_asking(uid), 20, "the models were asked")

        ((_at, first),) = site.begun(uid, "infer")
        crew.dismiss(crew.named(first))
        killed_at = time.time()
        wait_until(lambda: len(site.begun(uid, "infer")) == 2, 20, "the step was begun again")

        _first, (resumed_at, second) = site.begun(uid, "infer")
        assert second != first
        assert resumed_at - killed_at < RESUMED_SECONDS
        wait_until(lambda: site.is_delivered(uid), 20, "the results were delivered")
        assert len(site.begun(uid, "assemble")) == 1
        assert len(set(site.pacs.uids())) == len(site.pacs.uids()) == 2


def test_a_worker_wrongly_declared_dead_is_fenced_and_harms_nothing(site: Site):
    with Crew() as crew:
        spec = site.spec(triton_seconds=0.8)
        crew.add("stale", run_worker, spec)
        uid = site.submit(2)
        wait_until(lambda: site.is_asking(uid), 20, "the models were asked")
        ((_at, stale),) = site.begun(uid, "infer")
        crew.kill("stale", signal.SIGSTOP)
        _take_its_lease_away(site)
        crew.add("other", run_worker, spec)
        wait_until(lambda: site.is_delivered(uid), 30, "the other delivered")

        crew.kill("stale", signal.SIGCONT)
        wait_until(
            lambda: "job_taken_over" in _log(site) or "no longer owned" in _log(site),
            30,
            "the stale one noticed",
        )
        later = site.submit(3)
        wait_until(lambda: site.is_delivered(later), 30, "both went on with other work")

        assert site.job(uid).state == "done"
        assert len(set(site.pacs.uids())) == len(site.pacs.uids()) == 4
        ended_by_stale = {
            (workflow.split(":")[0], step)
            for _at, pid, workflow, step, what in site.journal.read()
            if pid == stale and what == "kept"
        }
        assert (uid, "infer") not in ended_by_stale


def test_a_series_that_kills_its_worker_is_given_up_while_others_go_on(site: Site):
    poison, healthy = site.submit(4), site.submit(5)
    with Crew() as crew:
        crew.add(
            "one", run_worker, site.spec(kills={poison: "always infer:begin"}, sweep_seconds=0.1)
        )
        wait_until(lambda: site.job(poison).state == "failed", 60, "the series was given up")
        wait_until(lambda: site.is_delivered(healthy), 30, "the other series was delivered")

        job = site.job(poison)
        assert job.reason == "given_up"
        assert "died each time" in (job.sentence or "")
        assert 4 <= len(site.begun(poison, "infer")) <= 8


def test_giving_a_job_up_ends_the_call_of_the_model(site: Site):
    with Crew() as crew:
        crew.add("one", run_worker, site.spec(triton_seconds=120.0))
        uid = site.submit(6)
        wait_until(lambda: site.is_asking(uid), 20, "the models were asked")

        site.steer(cancel_job, site.job(uid).id)

        # One analysis at a time: the next begins only when the call has ended.
        later = site.submit(7)
        wait_until(lambda: site.begun(later, "infer"), 10, "the next analysis was begun")
        assert site.job(uid).state == "cancelled"
        site.steer(cancel_job, site.job(later).id)


def test_a_job_that_was_given_up_can_be_taken_up_again(site: Site):
    uid = site.submit(8)
    site.steer(cancel_job, site.job(uid).id)
    with Crew() as crew:
        crew.add("one", run_worker, site.spec())
        site.steer(retry_job, site.job(uid).id)

        wait_until(lambda: site.is_delivered(uid), 20, "the results were delivered")


def test_of_operators_who_retry_at_the_same_time_one_is_in_time(site: Site):
    uid = site.submit(9)
    site.steer(cancel_job, site.job(uid).id)
    job_id, jobs, at_once = site.job(uid).id, JobQueue(site.database), threading.Barrier(6)

    def retry() -> bool:
        at_once.wait(30)
        try:
            retry_job(site.database, jobs, job_id)
        except StateError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        in_time = [each.result() for each in [pool.submit(retry) for _ in range(6)]]
    jobs.close()

    assert sorted(in_time) == [*[False] * 5, True]
    assert (site.job(uid).state, site.job(uid).attempt) == ("queued", 2)


def test_what_retention_is_removing_is_not_sent_anew_and_the_operator_is_told(site: Site):
    uid = site.submit(10)
    job_id, jobs = site.job(uid).id, JobQueue(site.database)
    with site.database.begin() as transaction:
        set_job(transaction, job_id, state="done", files={"sr.dcm": "outbox/sr.dcm"})
    told: list[str] = []

    def send() -> None:
        with pytest.raises(StateError) as caught:
            send_job(site.database, jobs, job_id, SENDER, destinations={})
        told.append(str(caught.value))

    operator = threading.Thread(target=send)
    with site.database.begin() as transaction:
        assert hold_settled(transaction, job_id, before=datetime.now(UTC) + timedelta(hours=1))
        operator.start()
        operator.join(0.5)
        assert operator.is_alive(), "the operator's command did not wait"
        set_job(transaction, job_id, files={})
    operator.join(30)
    jobs.close()

    assert told == [f"{job_id} is done and has no results to send"]
    with site.database.begin() as transaction:
        assert list_deliveries(transaction, job_id) == ()


def test_nothing_fails_when_postgresql_crashes_and_comes_back(tmp_path: Path):
    with Postgres() as server, FlakyPacs() as pacs:
        url = server.new_database()
        with Site(tmp_path, url, pacs) as site, Crew() as crew:
            crew.add("one", run_worker, site.spec(triton_seconds=0.5))
            crew.add("two", run_worker, site.spec(triton_seconds=0.5))
            series = [site.submit(seed) for seed in range(20, 23)]
            wait_until(lambda: any(site.begun(uid, "infer") for uid in series), 20, "work began")

            server.stop()
            server.start()

            wait_until(
                lambda: all(site.is_delivered(uid) for uid in series), 60, "all was delivered"
            )
            assert {site.job(uid).state for uid in series} == {"done"}
            assert crew.deaths == 0
            assert len(set(pacs.uids())) == 2 * len(series)


def _workers(site: Site) -> set[int]:
    return {pid for _at, pid, _w, step, _slot in site.journal.read() if step == "worker"}


def _take_its_lease_away(site: Site) -> None:
    """Do what a cut connection does, or what nobody does to a lock file."""
    if site.url == "sqlite":
        for lock in (site.folder / "data" / "leases").iterdir():
            lock.unlink()
        return
    with psycopg.connect(site.url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
        )


def _log(site: Site) -> str:
    return (site.folder / "log").read_text()
