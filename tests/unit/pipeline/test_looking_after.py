"""What the engine has given up is put on record, and nothing else is."""

from __future__ import annotations

import pytest

from dicomnode.database import open_database
from dicomnode.database.delivery_rows import reopen_delivery
from dicomnode.database.job_rows import (
    create_job,
    get_job,
    list_deliveries,
    reopen_job,
    set_job,
)
from dicomnode.model.series import SeriesRevision
from dicomnode.pipeline.identifiers import analysis_workflow_id, delivery_workflow_id
from dicomnode.pipeline.looking_after import park_broken
from tests.support.deliveries import set_delivery

REVISION = SeriesRevision(pipeline="p", series_instance_uid="1.2", revision=1, digest="0" * 16)
JOB = REVISION.job_id("v1")
DIED = "the process that ran it died each time"


@pytest.fixture
def database(tmp_path):
    opened = open_database("sqlite", data_dir=tmp_path)
    with opened.begin() as transaction:
        create_job(transaction, JOB, REVISION)
        set_job(transaction, JOB, state="running")
    yield opened
    opened.close()


class Engine:
    """What the engine says of workflows; an operator may be quicker than who asked."""

    def __init__(self, *broken, known=(), meanwhile=lambda: None):
        self._broken = broken
        self._known = frozenset((*broken, *known))
        self._meanwhile = meanwhile

    def broken(self, workflow_ids):
        found = {each: DIED for each in workflow_ids if each in self._broken}
        if found:
            self._meanwhile()
        return found

    def known(self, workflow_ids):
        return self._known.intersection(workflow_ids)


def job_of(database):
    with database.begin() as transaction:
        return get_job(transaction, JOB)


def test_a_job_that_its_worker_died_of_each_time_has_failed(database):
    assert park_broken(database, Engine(analysis_workflow_id(JOB, 1))) == 1

    job = job_of(database)
    assert (job.state, job.reason) == ("failed", "given_up")
    assert job.sentence == f"the analysis was given up: {DIED}"


def test_a_job_that_was_retried_meanwhile_is_not_given_up(database):
    def cancel_and_retry():
        with database.begin() as transaction:
            set_job(transaction, JOB, state="cancelled")
            assert reopen_job(transaction, JOB) == 2

    engine = Engine(analysis_workflow_id(JOB, 1), meanwhile=cancel_and_retry)

    assert park_broken(database, engine) == 0

    assert (job_of(database).state, job_of(database).attempt) == ("queued", 2)


@pytest.mark.parametrize("further", [0, 1], ids=["on record", "not on record yet"])
def test_a_delivery_that_its_worker_died_of_each_time_is_parked(database, further):
    with database.begin() as transaction:
        set_job(transaction, JOB, state="done")
        set_delivery(transaction, JOB, "pacs", state="pending", attempts=1, words=None)

    engine = Engine(delivery_workflow_id(JOB, "pacs", 1 + further))

    assert park_broken(database, engine) == 1
    with database.begin() as transaction:
        [delivery] = list_deliveries(transaction, JOB)
    assert (delivery.state, delivery.attempts) == ("parked", 1 + further)
    assert delivery.words == f"given up: {DIED}"


def test_a_delivery_that_was_sent_anew_meanwhile_is_neither_parked_nor_told(database, capsys):
    with database.begin() as transaction:
        set_job(transaction, JOB, state="done")
        set_delivery(transaction, JOB, "pacs", state="pending", attempts=1, words=None)

    def park_and_retry():
        with database.begin() as transaction:
            set_delivery(transaction, JOB, "pacs", state="parked", attempts=1, words=None)
            assert reopen_delivery(transaction, JOB, "pacs", "again", only_parked=True)

    engine = Engine(delivery_workflow_id(JOB, "pacs", 1), meanwhile=park_and_retry)

    assert park_broken(database, engine) == 0

    with database.begin() as transaction:
        [delivery] = list_deliveries(transaction, JOB)
    assert delivery.state == "pending"
    assert "delivery_given_up" not in capsys.readouterr().out
