"""Series and instances as rows: what repeats, what reopens, what makes a revision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from dicomnode.database import open_database
from dicomnode.database.job_rows import create_job, trace_of
from dicomnode.database.series_rows import (
    Arrived,
    close_series,
    get_series,
    list_instances,
    list_series,
    record_instance,
    record_instances,
)
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import content_digest

AT = datetime(2026, 3, 4, 5, 6, 7, 891_000, tzinfo=UTC)


@pytest.fixture
def database(tmp_path):
    opened = open_database("sqlite", data_dir=tmp_path / "data")
    yield opened
    opened.close()


def ref(number, *, series="1.2.3", content="a"):
    return InstanceRef(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"{series}.{number}",
        study_instance_uid="1.2",
        series_instance_uid=series,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest=content * 64,
        size_bytes=1234,
        key=f"instances/chest/{series}/{number}.{content}.dcm",
    )


def record(database, *refs, at=AT, pipeline="chest"):
    with database.begin() as transaction:
        return [
            record_instance(transaction, pipeline, each, calling_ae_title="CT1", at=at)
            for each in refs
        ]


def close(database, series="1.2.3", *, pipeline="chest", because="quiet"):
    with database.begin() as transaction:
        return close_series(transaction, pipeline, series, because=because)


def row(database, series="1.2.3", *, pipeline="chest"):
    with database.begin() as transaction:
        return get_series(transaction, pipeline, series)


def test_the_first_instance_opens_a_series(database):
    [recorded] = record(database, ref(1))

    assert recorded.is_new
    found = row(database)
    assert (found.state, found.revision, found.instance_count) == ("open", 0, 1)
    assert (found.calling_ae_title, found.study_instance_uid) == ("CT1", "1.2")


def test_times_come_back_aware_and_equal_whatever_their_zone(database):
    record(database, ref(1), at=AT.astimezone(timezone(timedelta(hours=5, minutes=30))))
    record(database, ref(2), at=AT + timedelta(seconds=2))

    found = row(database)
    assert (found.first_received_at, found.last_received_at) == (AT, AT + timedelta(seconds=2))
    assert found.first_received_at.utcoffset() == timedelta(0)


def test_a_repeat_changes_nothing(database):
    record(database, ref(1), ref(2))
    close(database)
    before = row(database)

    [repeated] = record(database, ref(2), at=AT + timedelta(hours=1))

    assert not repeated.is_new
    assert row(database) == before


def test_of_two_contents_of_one_uid_the_first_is_kept(database):
    record(database, ref(1, content="a"))

    [second] = record(database, ref(1, content="b"))

    assert (second.is_new, second.digest) == (False, "a" * 64)
    with database.begin() as transaction:
        assert list_instances(transaction, "chest", "1.2.3") == (ref(1, content="a"),)


def test_a_series_is_closed_once(database):
    record(database, ref(1), ref(2))

    first, second = close(database, because="deadline"), close(database)

    assert (first.revision, first.digest) == (1, content_digest([ref(2), ref(1)]))
    assert second is None
    found = row(database)
    assert (found.state, found.digest, found.closed_because) == ("closed", first.digest, "deadline")


def test_an_unknown_series_cannot_be_closed(database):
    assert close(database, "9.9") is None


def test_a_late_instance_reopens_and_makes_the_next_revision(database):
    record(database, ref(1))
    first = close(database)

    record(database, ref(2), at=AT + timedelta(minutes=5))
    assert row(database).state == "open"
    second = close(database)

    assert (first.revision, second.revision) == (1, 2)
    assert first.digest != second.digest
    assert row(database).instance_count == 2


def test_a_rolled_back_close_leaves_the_series_open(database):
    record(database, ref(1))

    def close_and_fail():
        with database.begin() as transaction:
            close_series(transaction, "chest", "1.2.3", because="quiet")
            raise RuntimeError("no job")

    with pytest.raises(RuntimeError, match="no job"):
        close_and_fail()

    assert (row(database).state, row(database).revision) == ("open", 0)
    assert close(database).revision == 1


def test_pipelines_keep_their_series_apart(database):
    record(database, ref(1), ref(2), pipeline="chest")
    record(database, ref(1), pipeline="other")

    assert close(database, pipeline="other").digest == content_digest([ref(1)])
    assert row(database, pipeline="chest").state == "open"


def test_instances_are_told_in_full_by_uid(database):
    record(database, ref(2), ref(1), replace(ref(1, series="1.2.4")))

    with database.begin() as transaction:
        assert list_instances(transaction, "chest", "1.2.3") == (ref(1), ref(2))


def test_series_are_listed_latest_first_and_by_state(database):
    record(database, ref(1, series="1.1"), at=AT)
    record(database, ref(1, series="1.2"), at=AT + timedelta(seconds=1))
    close(database, "1.1")

    with database.begin() as transaction:
        assert [e.series_instance_uid for e in list_series(transaction)] == ["1.2", "1.1"]
        assert [e.series_instance_uid for e in list_series(transaction, state="open")] == ["1.2"]
        [found] = list_series(transaction, series_instance_uid="1.1")
    assert found == row(database, "1.1")


def arrive(database, number, traceparent, *, series="1.2.3"):
    """Record an instance as receivers do, in a trace or none."""
    one = Arrived(
        pipeline="chest",
        ref=ref(number, series=series),
        calling_ae_title="CT1",
        at=AT,
        traceparent=traceparent,
    )
    with database.begin() as transaction:
        record_instances(transaction, [one])


def test_a_revision_is_in_the_trace_of_its_first_instance(database):
    arrive(database, 1, "00-aa-01-01")
    arrive(database, 2, "00-bb-02-01")

    assert close(database).traceparent == "00-aa-01-01"


def test_what_opens_a_series_again_begins_another_trace(database):
    arrive(database, 1, "00-aa-01-01")
    close(database)
    arrive(database, 2, "00-bb-02-01")

    assert close(database).traceparent == "00-bb-02-01"


def test_a_revision_that_began_without_a_trace_is_in_none_of_before(database):
    arrive(database, 1, "00-aa-01-01")
    close(database)
    arrive(database, 2, None)

    assert close(database).traceparent is None


def test_a_receiver_that_traces_gives_a_trace_to_what_another_began_without(database):
    arrive(database, 1, None)
    arrive(database, 2, "00-bb-02-01")

    assert close(database).traceparent == "00-bb-02-01"


def test_a_job_keeps_its_trace(database):
    arrive(database, 1, "00-aa-01-01")
    revision = close(database)
    with database.begin() as transaction:
        create_job(transaction, "1.2.3:x", revision, traceparent="00-aa-09-01")

    with database.begin() as transaction:
        assert trace_of(transaction, "1.2.3:x") == "00-aa-09-01"
        assert trace_of(transaction, "nobody's") is None
