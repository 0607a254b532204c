"""Jobs, deliveries and the send ledger as rows."""

from __future__ import annotations

import threading

import pytest

from dicomnode.database import open_database
from dicomnode.database.delivery_rows import already_sent, record_sent
from dicomnode.database.job_rows import (
    add_seconds,
    begin_stage,
    create_job,
    get_job,
    list_deliveries,
    list_jobs,
    set_job,
)
from dicomnode.model.series import SeriesRevision
from tests.support.deliveries import set_delivery

REVISION = SeriesRevision(
    pipeline="chest", series_instance_uid="1.2.3", revision=1, digest="0123456789abcdef"
)


@pytest.fixture
def database(tmp_path):
    opened = open_database("sqlite", data_dir=tmp_path / "data")
    yield opened
    opened.close()


def in_transaction(database, function, *arguments, **named):
    with database.begin() as transaction:
        return function(transaction, *arguments, **named)


@pytest.fixture
def job_id(database):
    name = REVISION.job_id("v1")
    assert in_transaction(database, create_job, name, REVISION)
    return name


def test_a_job_begins_queued(database, job_id):
    job = in_transaction(database, get_job, job_id)

    assert (job.state, job.attempt, job.stage, job.seconds, job.files) == (
        "queued",
        1,
        None,
        {},
        {},
    )
    assert (job.pipeline, job.series_instance_uid, job.revision, job.digest) == (
        REVISION.pipeline,
        REVISION.series_instance_uid,
        REVISION.revision,
        REVISION.digest,
    )


def test_the_same_job_is_made_once(database, job_id):
    in_transaction(database, set_job, job_id, state="done")

    assert not in_transaction(database, create_job, job_id, REVISION)
    assert in_transaction(database, get_job, job_id).state == "done"


def test_a_stage_clears_the_words_of_an_earlier_fault(database, job_id):
    in_transaction(database, set_job, job_id, state="waiting", reason="X", sentence="no server")

    assert in_transaction(database, begin_stage, job_id, "infer")

    job = in_transaction(database, get_job, job_id)
    assert (job.state, job.stage, job.reason, job.sentence) == ("running", "infer", None, None)


def test_a_cancelled_job_begins_no_stage(database, job_id):
    in_transaction(database, set_job, job_id, state="cancelled", reason="operator")

    assert not in_transaction(database, begin_stage, job_id, "infer")
    assert in_transaction(database, get_job, job_id).state == "cancelled"


def test_seconds_add_up_by_stage(database, job_id):
    in_transaction(database, add_seconds, job_id, {"assemble": 1.5})
    in_transaction(database, add_seconds, job_id, {"segment": 2.5, "measure": 0.5})

    assert in_transaction(database, get_job, job_id).seconds == {
        "assemble": 1.5,
        "segment": 2.5,
        "measure": 0.5,
    }


def test_seconds_added_at_the_same_time_are_all_kept(database, job_id):
    """Deliveries to several destinations end whenever they like."""
    begin = threading.Barrier(4)

    def add(worker):
        begin.wait(10)
        for number in range(10):
            in_transaction(database, add_seconds, job_id, {f"{worker}-{number}": 1.0})

    threads = [threading.Thread(target=add, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len(in_transaction(database, get_job, job_id).seconds) == 40


def test_an_unknown_job_is_none(database):
    assert in_transaction(database, get_job, "nobody") is None


def test_jobs_are_listed_latest_first_by_state_and_series(database, job_id):
    other = SeriesRevision(pipeline="chest", series_instance_uid="1.9", revision=2, digest="f" * 16)
    in_transaction(database, create_job, other.job_id("v1"), other)
    in_transaction(database, set_job, job_id, state="done")

    jobs = in_transaction(database, list_jobs)
    assert [each.id for each in jobs] == [other.job_id("v1"), job_id]
    assert [each.id for each in in_transaction(database, list_jobs, state="done")] == [job_id]
    [found] = in_transaction(database, list_jobs, series_instance_uid="1.9")
    assert found.revision == 2


def test_a_delivery_is_recorded_as_it_stands(database, job_id):
    in_transaction(
        database, set_delivery, job_id, "pacs", state="pending", attempts=1, words="x" * 900
    )
    in_transaction(
        database, set_delivery, job_id, "archive", state="parked", attempts=8, words=None
    )
    in_transaction(
        database, set_delivery, job_id, "pacs", state="delivered", attempts=2, words="y" * 900
    )

    archive, pacs = in_transaction(database, list_deliveries, job_id)
    assert (archive.destination, archive.state, archive.words) == ("archive", "parked", None)
    assert (pacs.destination, pacs.state, pacs.attempts) == ("pacs", "delivered", 2)
    assert pacs.words == "y" * 500


def test_the_ledger_knows_what_each_destination_took(database):
    in_transaction(database, record_sent, "pacs", "1.1", status=0)
    in_transaction(database, record_sent, "pacs", "1.1", status=0xB000)
    in_transaction(database, record_sent, "archive", "1.2", status=0)

    assert in_transaction(database, already_sent, "pacs", ["1.1", "1.2"]) == {"1.1"}
    assert in_transaction(database, already_sent, "archive", ["1.1", "1.2"]) == {"1.2"}
    assert in_transaction(database, already_sent, "pacs", []) == frozenset()
