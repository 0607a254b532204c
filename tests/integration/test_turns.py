"""Workers that ask one Triton together: how many of their calls a model sees at once."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psycopg
import pytest

from dicomnode.database import open_database
from dicomnode.database.job_rows import JobRow, list_jobs
from dicomnode.engine import JobQueue
from dicomnode.node.seats import open_seats
from dicomnode.pipeline.steering import cancel_job
from tests.support.ct import make_series
from tests.support.postgres import Postgres
from tests.support.quick_triton import QuickTriton
from tests.support.workers import Crew, Journal, Spec, opened, receive, run_worker, wait_until

MODELS = Path(__file__).resolve().parents[1] / "support" / "counting_models"
FREED_SECONDS = 10.0


class CountingTriton:
    """A tritonserver whose model computes four calls at once and writes down when."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, *, seconds: float) -> None:
        """Forget what was noted; calls take so long from now on."""
        for name in ("notes", "release"):
            (self.folder / name).unlink(missing_ok=True)
        self.set_seconds(seconds)

    def set_seconds(self, seconds: float) -> None:
        path = self.folder / "seconds"
        path.with_suffix(".new").write_text(str(seconds))
        path.with_suffix(".new").replace(path)

    def release(self) -> None:
        """End every call that is under way."""
        (self.folder / "release").touch()

    def notes(self) -> list[tuple[float, str]]:
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(float(at), what) for at, what in (line.split() for line in lines)]

    def begun(self) -> list[float]:
        return [at for at, what in self.notes() if what == "begin"]

    def most_at_once(self) -> int:
        most = inside = 0
        for _at, what in self.notes():
            inside += 1 if what == "begin" else -1
            most = max(most, inside)
        return most


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, CountingTriton]]:
    folder = tmp_path_factory.mktemp("counting")
    counting = CountingTriton(folder)
    os.environ["COUNTING_FOLDER"] = str(folder)
    with QuickTriton(
        repositories=[MODELS], run_dir=folder / "triton", startup_seconds=60
    ) as triton:
        yield triton.address, counting
    del os.environ["COUNTING_FOLDER"]


class Site:
    """A configuration whose workers ask one server, and jobs to be done."""

    def __init__(self, folder: Path, url: str, address: str, limit: int) -> None:
        self.folder = folder
        self.config = folder / "dicomnode.toml"
        self.config.write_text(f"""
data_dir = "{folder / "data"}"
[database]
url = "{url}"
[inference]
triton = "{address}"
model_repositories = ["{MODELS}"]
max_in_flight = {{ counting = {limit} }}
[pipelines.plain]
ae_title = "PLAIN"
segment = ["counting"]
classify = []
destinations = ["out"]
[destinations.out]
kind = "folder"
path = "{folder / "out"}"
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

    def start(self, crew: Crew, *names: str, analyses: int = 1) -> None:
        for name in names:
            crew.add(
                name,
                run_worker,
                Spec(config=self.config, folder=self.folder, analyses=analyses, sweep_seconds=1.0),
            )
        wait_until(lambda: len(self._workers()) == len(names), 30, "all workers were up")

    def _workers(self) -> set[int]:
        return {pid for _at, pid, _w, step, _slot in self.journal.read() if step == "worker"}

    def worker_of(self, uid: str) -> int:
        """Return the process that last began to ask the models for a series."""
        return [
            pid
            for _at, pid, workflow, step, what in self.journal.read()
            if workflow.startswith(uid) and (step, what) == ("infer", "begin")
        ][-1]

    def job(self, uid: str) -> JobRow:
        with self.database.begin() as transaction:
            (job,) = list_jobs(transaction, series_instance_uid=uid)
            return job

    def is_waiting(self, uid: str) -> bool:
        job = self.job(uid)
        return (job.state, job.reason) == ("waiting", "model_busy")


@pytest.fixture
def counting(server: tuple[str, CountingTriton]) -> Iterator[CountingTriton]:
    yield server[1]
    server[1].release()


def test_workers_together_ask_a_model_no_more_than_its_limit_at_once(
    tmp_path: Path, database_url: str, server: tuple[str, CountingTriton], counting: CountingTriton
):
    counting.begin(seconds=600.0)
    with Site(tmp_path, database_url, server[0], 2) as site, Crew() as crew:
        site.start(crew, "one", "two", analyses=2)
        series = [site.submit(seed) for seed in range(1, 5)]

        wait_until(lambda: sum(site.is_waiting(uid) for uid in series) == 2, 20, "two jobs waited")
        assert len(counting.begun()) == 2
        counting.set_seconds(0.3)
        counting.release()
        wait_until(
            lambda: all(site.job(uid).state == "done" for uid in series), 40, "all were done"
        )

        assert len(counting.begun()) == len(series)
        assert counting.most_at_once() == 2
        assert len({site.worker_of(uid) for uid in series}) == 2


def test_a_killed_worker_leaves_its_seat_to_the_others(
    tmp_path: Path, database_url: str, server: tuple[str, CountingTriton], counting: CountingTriton
):
    counting.begin(seconds=600.0)
    with Site(tmp_path, database_url, server[0], 1) as site, Crew() as crew:
        site.start(crew, "one", "two")
        first = site.submit(11)
        wait_until(counting.begun, 20, "the model was asked")
        counting.set_seconds(0.1)
        second = site.submit(12)
        wait_until(lambda: site.is_waiting(second), 20, "the other job waited")
        assert "waits for its turn: model 'counting'" in (site.job(second).sentence or "")
        assert len(counting.begun()) == 1

        crew.dismiss(crew.named(site.worker_of(first)))
        killed_at = time.time()
        wait_until(lambda: len(counting.begun()) == 2, 20, "the seat was taken")

        assert counting.begun()[1] - killed_at < FREED_SECONDS
        wait_until(
            lambda: {site.job(uid).state for uid in (first, second)} == {"done"}, 30, "all was done"
        )


def test_a_cancelled_job_does_not_wait_for_its_turn(
    tmp_path: Path, database_url: str, server: tuple[str, CountingTriton], counting: CountingTriton
):
    counting.begin(seconds=600.0)
    with Site(tmp_path, database_url, server[0], 1) as site, Crew() as crew:
        site.start(crew, "one", "two")
        first = site.submit(21)
        wait_until(counting.begun, 20, "the model was asked")
        second = site.submit(22)
        wait_until(lambda: site.is_waiting(second), 20, "the other job waited")

        jobs = JobQueue(site.database)
        cancel_job(site.database, jobs, site.job(second).id)
        jobs.close()

        # One analysis at a time: its worker takes the next only when it waits no longer.
        third = site.submit(23)
        wait_until(lambda: site.is_waiting(third), 20, "the next job came up to the model")
        assert site.job(second).state == "cancelled"
        assert site.worker_of(third) == site.worker_of(second)
        counting.release()
        wait_until(
            lambda: {site.job(uid).state for uid in (first, third)} == {"done"}, 30, "all was done"
        )
        assert len(counting.begun()) == 2


def test_seats_whose_session_was_lost_are_taken_again(tmp_path: Path, postgres: Postgres):
    database_url = postgres.new_database()
    database = open_database(database_url, data_dir=tmp_path)
    one, other = open_seats(database, "triton:8001"), open_seats(database, "triton:8001")
    seat = one.take("net", 1)
    assert seat is not None
    assert other.take("net", 1) is None
    other.leave("net")

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory'"
        )
    assert one.take("net", 1) is None  # in a new session, with the seat that it had

    one.leave("net")
    one.give_back(seat)
    taken = other.take("net", 1)
    assert taken is not None
    one.close()
    other.close()
    database.close()
