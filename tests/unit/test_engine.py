"""What the job engine promises, before kill -9: each engine runs in a process of its own."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess

import pytest

from dicomnode.database import open_database
from dicomnode.database.job_rows import create_job, get_job
from dicomnode.engine import JobQueue
from dicomnode.model.series import SeriesRevision
from tests.support.engine_process import IDLE_SECONDS, SWEEP_SECONDS, run_engine
from tests.support.forked import Forked
from tests.support.node import wait_until

REVISION = SeriesRevision(pipeline="p", series_instance_uid="1.2", revision=1, digest="0" * 16)


class Worker:
    """An engine in a process."""

    def __init__(self, folder, slot, *more):
        self.process = Forked(run_engine, [str(folder), slot, *more])
        self.said = self.process.stdout.readline().strip()

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        code = self.process.wait(30)
        return code, self.process.stderr.read()

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start(tmp_path):
    workers = []

    def worker(slot="one", *more):
        workers.append(Worker(tmp_path, slot, *more))
        return workers[-1]

    yield worker
    for each in workers:
        each.close()


@pytest.fixture
def database(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    yield database
    database.close()


@pytest.fixture
def queue(database):
    jobs = JobQueue(database)
    yield jobs
    jobs.close()


@pytest.fixture
def enqueue(database, queue):
    def put(workflow_id, name=None, **named):
        with database.begin() as transaction:
            queue.enqueue_in(
                transaction, "count", "count", workflow_id, name or workflow_id, **named
            )

    return put


@pytest.fixture
def steps(tmp_path):
    def read():
        path = tmp_path / "steps"
        return path.read_text().splitlines() if path.exists() else []

    return read


def go(folder):
    (folder / "go").touch()


def wait_for(steps, line, seconds=20):
    wait_until(lambda: line in steps(), seconds, f"{line!r} was noted")


def test_after_a_kill_the_interrupted_step_is_repeated_and_no_finished_one(
    start, enqueue, steps, tmp_path
):
    worker = start()
    enqueue("w1")
    wait_for(steps, "w1:second:begin one")
    worker.end(signal.SIGKILL)

    go(tmp_path)
    start()

    wait_for(steps, "w1:third one")
    assert steps() == [
        "w1:first one",
        "w1:second:begin one",
        "w1:second:begin one",
        "w1:second:end one",
        "w1:third one",
    ]


def test_what_a_killed_process_left_is_taken_up_by_another_slot(start, enqueue, steps, tmp_path):
    worker = start("one")
    enqueue("w1")
    wait_for(steps, "w1:second:begin one")
    start("two")
    worker.end(signal.SIGKILL)

    go(tmp_path)

    wait_for(steps, "w1:third two", seconds=10)
    assert steps().count("w1:first one") == 1
    assert "w1:first two" not in steps()


def test_the_work_of_a_living_process_is_left_to_it(start, enqueue, steps, tmp_path):
    start("one")
    enqueue("w1")
    wait_for(steps, "w1:second:begin one")
    other = start("two")
    enqueue("w2")
    wait_until(lambda: len(steps()) == 4, 20, "both workflows waited")
    # Longer than a sweep, and than what is taken may stay idle: a wrong verdict would have shown.
    with pytest.raises(subprocess.TimeoutExpired):
        other.process.wait(IDLE_SECONDS + 3 * SWEEP_SECONDS)

    go(tmp_path)

    wait_until(lambda: sum("third" in each for each in steps()) == 2, 20, "both ended")
    assert sum("w1:second:begin" in each for each in steps()) == 1
    assert "w1:third one" in steps()


def test_what_a_process_took_and_does_not_run_is_put_back(start, enqueue, steps, tmp_path):
    """As when the database goes away after it was asked for work, and before its answer."""
    start("one")
    enqueue("w1", delay_seconds=3600)
    with sqlite3.connect(tmp_path / "dicomnode.sqlite") as connection:
        taken = connection.execute(
            "update workflow_status set status = 'PENDING', executor_id = 'one' "
            "where workflow_uuid = 'w1'"
        )
        assert taken.rowcount == 1

    go(tmp_path)

    wait_for(steps, "w1:third one")
    assert len(steps()) == 4


def test_two_processes_of_one_slot_are_refused(start):
    start("one")

    second = start("one")
    code, errors = second.wait()

    assert (code, second.said) == (1, "")
    assert "another process works as 'one'" in errors


def test_a_drained_process_ends_what_it_runs_and_takes_no_more(start, enqueue, steps, tmp_path):
    worker = start()
    enqueue("w1")
    wait_for(steps, "w1:second:begin one")
    worker.process.send_signal(signal.SIGTERM)
    go(tmp_path)

    assert worker.wait()[0] == 0

    assert steps()[-1] == "w1:third one"
    enqueue("w2")
    start()
    wait_for(steps, "w2:third one")


def test_what_outlasts_the_drain_is_told_in_plain_words(start, enqueue, steps):
    worker = start("one", "1")
    enqueue("job-1", "a")
    wait_for(steps, "a:second:begin one")

    code, errors = worker.end()

    said = [json.loads(line) for line in errors.splitlines()]
    assert code == 0
    assert [(each["event"], each.get("workflow"), each.get("step")) for each in said] == [
        ("work_left_for_next_start", "job-1", "second"),
        ("step_ended_after_drain", None, None),
    ]
    assert not any("exception" in each for each in said)


def test_an_id_that_was_used_changes_nothing(start, enqueue, steps, tmp_path):
    go(tmp_path)
    start()
    enqueue("w1")
    enqueue("w1")
    wait_for(steps, "w1:third one")
    enqueue("w1")
    enqueue("w2")
    wait_for(steps, "w2:third one")

    assert steps().count("w1:first one") == 1


def test_a_delayed_workflow_can_be_cancelled(start, queue, enqueue, steps, tmp_path):
    go(tmp_path)
    start()
    enqueue("w1", delay_seconds=0.5)
    queue.cancel("w1")
    enqueue("w2", delay_seconds=1)
    wait_for(steps, "w2:third one")

    assert not any("w1" in each for each in steps())


def test_a_cancelled_workflow_ends_before_its_next_step(start, queue, enqueue, steps, tmp_path):
    start()
    enqueue("w1")
    wait_for(steps, "w1:second:begin one")
    queue.cancel("w1")
    go(tmp_path)
    wait_for(steps, "w1:second:end one")
    enqueue("w2")
    wait_for(steps, "w2:third one")

    assert "w1:third one" not in steps()


def test_to_cancel_what_never_was_is_harmless(start, queue):
    start()

    queue.cancel("nobody")


def test_a_rollback_leaves_neither_row_nor_workflow(start, database, queue, steps, tmp_path):
    start().end()

    def submit_and_fail():
        with database.begin() as transaction:
            create_job(transaction, "w1", REVISION)
            queue.enqueue_in(transaction, "count", "count", "w1", "w1")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        submit_and_fail()
    with database.begin() as transaction:
        assert get_job(transaction, "w1") is None
        create_job(transaction, "w2", REVISION)
        queue.enqueue_in(transaction, "count", "count", "w2", "w2")

    go(tmp_path)
    start()
    wait_for(steps, "w2:third one")

    assert not any("w1" in each for each in steps())
