"""What is counted of what is under way, and how old the oldest of it is."""

from datetime import UTC, datetime, timedelta

import pytest

from dicomnode.database import open_database
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.database.series_rows import close_series, hold_series, record_instance
from dicomnode.database.standing_rows import (
    Standing,
    count_series,
    latest_instances,
    measure_instances,
    stand_of_deliveries,
    stand_of_jobs,
)
from dicomnode.model.instance import InstanceRef
from tests.support.deliveries import set_delivery

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@pytest.fixture
def database(tmp_path):
    opened = open_database("sqlite", data_dir=tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def receive(database):
    def record(series, *, pipeline="chest", at=NOON, size_bytes=10):
        with database.begin() as transaction:
            record_instance(
                transaction,
                pipeline,
                InstanceRef(
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                    sop_instance_uid=f"{series}.1",
                    study_instance_uid="1.2",
                    series_instance_uid=series,
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                    digest="a" * 64,
                    size_bytes=size_bytes,
                    key=f"instances/{pipeline}/{series}/1.dcm",
                ),
                calling_ae_title="CT1",
                at=at,
            )

    return record


@pytest.fixture
def job(database, receive):
    """Make a job in a state, of some age."""

    def make(series, state, *, created=NOON, deliveries=()):
        receive(series)
        with database.begin() as transaction:
            revision = close_series(transaction, "chest", series, because="quiet")
            job_id = revision.job_id("v1")
            create_job(transaction, job_id, revision)
            set_job(transaction, job_id, state=state, created_at=created)
            for destination, delivery_state in deliveries:
                set_delivery(
                    transaction, job_id, destination, state=delivery_state, attempts=1, words=None
                )

    return make


def ask(database, question):
    with database.begin() as transaction:
        return question(transaction)


def test_series_count_while_they_are_open_or_held(database, receive, job):
    receive("1.1")
    receive("1.2", pipeline="other")
    receive("1.3")
    job("1.4", "done")
    with database.begin() as transaction:
        hold_series(transaction, "chest", "1.3", because="deadline")

    assert ask(database, count_series) == {
        ("chest", "open"): 1,
        ("chest", "held"): 1,
        ("other", "open"): 1,
    }


def test_the_latest_instance_of_each_pipeline_is_known(database, receive):
    receive("1.1")
    receive("1.2", at=NOON + timedelta(hours=1))
    receive("1.3", pipeline="other", at=NOON - timedelta(days=1))

    assert ask(database, latest_instances) == {
        "chest": NOON + timedelta(hours=1),
        "other": NOON - timedelta(days=1),
    }


def test_jobs_count_until_they_are_settled_with_the_oldest_of_each_state(database, job):
    job("1.1", "queued", created=NOON)
    job("1.2", "queued", created=NOON - timedelta(minutes=7))
    job("1.3", "failed", created=NOON - timedelta(days=2))
    job("1.4", "done")
    job("1.5", "refused")

    assert ask(database, stand_of_jobs) == {
        ("chest", "queued"): Standing(2, NOON - timedelta(minutes=7)),
        ("chest", "failed"): Standing(1, NOON - timedelta(days=2)),
    }


def test_deliveries_count_until_they_are_settled_by_the_age_of_their_results(database, job):
    job("1.1", "done", deliveries=[("pacs", "parked"), ("share", "delivered")])
    job(
        "1.2",
        "done",
        created=NOON - timedelta(hours=3),
        deliveries=[("pacs", "parked"), ("share", "pending")],
    )

    assert ask(database, stand_of_deliveries) == {
        ("pacs", "parked"): Standing(2, NOON - timedelta(hours=3)),
        ("share", "pending"): Standing(1, NOON - timedelta(hours=3)),
    }


def test_stored_instances_are_counted_and_measured(database, receive):
    receive("1.1", size_bytes=10)
    receive("1.2", size_bytes=32)
    receive("1.3", pipeline="other", size_bytes=7)

    assert ask(database, measure_instances) == {"chest": (2, 42), "other": (1, 7)}
