"""Closing series on a real database: one receiver and several, restarts, holding."""

import threading
import time
from datetime import UTC, datetime

import pytest

from dicomnode.config import CompletionConfig
from dicomnode.database import open_database
from dicomnode.database.series_rows import get_series, record_instance, release_held
from dicomnode.model.instance import InstanceRef
from dicomnode.series.registry import SeriesRegistry

SERIES = "1.2.3"


def _ref(number, series=SERIES):
    return InstanceRef(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"{series}.{number}",
        study_instance_uid="1.2",
        series_instance_uid=series,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest=f"{number:064x}",
        size_bytes=100,
        key=f"instances/chest/{series}/{number}.dcm",
    )


class Answers:
    """What the slices and the archive would say."""

    def __init__(self, *, contiguous=False, expected=None):
        self.contiguous = contiguous
        self.expected = expected
        self.asked = []

    def is_contiguous(self, refs):
        assert list(refs)
        return self.contiguous

    def expected_count(self, pipeline, **named):
        self.asked.append((pipeline, named))
        return self.expected


@pytest.fixture
def database(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    yield database
    database.close()


@pytest.fixture
def start(database):
    """Start a registry; returns it and the list of revisions that it closed."""
    running = []

    def start_one(receiver="node", *, inquiry=None, **completion):
        closed = []
        config = {"quiet_seconds": 0.3, "settle_seconds": 0.05} | completion

        def submit(_transaction, revision):
            closed.append(revision)
            return "job"

        registry = SeriesRegistry(
            database,
            completion={"chest": CompletionConfig(**config)},
            submit=submit,
            inquiry=inquiry or Answers(),
            receiver=receiver,
        )
        registry.start()
        running.append(registry)
        return registry, closed

    yield start_one
    for each in running:
        each.stop()


def _store(registry, number, association="a", series=SERIES):
    registry.instance_stored(
        "chest", _ref(number, series), calling_ae_title="CT", association_id=association
    )
    registry.flush()


def _end(registry, association="a", how="released"):
    registry.association_ended(association, pipeline="chest", how=how)


def _row(database):
    with database.begin() as transaction:
        return get_series(transaction, "chest", SERIES)


def _wait(condition, seconds=10.0):
    end = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < end:
        if condition():
            return
        pause.wait(0.01)  # nothing here tells when
    pytest.fail("it did not come to pass in time")


def test_a_series_without_gaps_is_closed_after_the_settle_time(start, database):
    registry, closed = start(inquiry=Answers(contiguous=True), quiet_seconds=60.0)

    _store(registry, 1)
    _store(registry, 2)
    _end(registry)

    # The revision is handed over within the transaction that closes the series.
    _wait(lambda: _row(database).state == "closed")
    assert _row(database).closed_because == "contiguous"
    assert closed[0].revision == 1


def test_a_series_with_gaps_is_closed_after_the_quiet_time(start, database):
    registry, _ = start(inquiry=Answers(contiguous=False))

    _store(registry, 1)
    _end(registry)

    # The revision is handed over within the transaction that closes the series.
    _wait(lambda: _row(database).state == "closed")
    assert _row(database).closed_because == "quiet"


def test_the_expected_count_closes_at_once(start, database):
    answers = Answers(expected=2)
    registry, _ = start(
        inquiry=answers, quiet_seconds=60.0, expected_count={"host": "x", "port": 104}
    )

    _store(registry, 1)
    _store(registry, 2)
    _end(registry)

    # The revision is handed over within the transaction that closes the series.
    _wait(lambda: _row(database).state == "closed")
    assert _row(database).closed_because == "count"
    assert answers.asked == [
        (
            "chest",
            {"study_instance_uid": "1.2", "series_instance_uid": SERIES, "calling_ae_title": "CT"},
        )
    ]


def test_a_series_that_lacks_instances_is_held_at_the_deadline_until_a_person_says(start, database):
    registry, closed = start(
        inquiry=Answers(contiguous=True, expected=5),
        deadline_seconds=0.5,
        at_deadline="hold",
        expected_count={"host": "x", "port": 104},
    )
    _store(registry, 1)
    _end(registry)

    _wait(lambda: _row(database).state == "held")
    assert closed == []
    assert _row(database).closed_because == "4 instances lacking"

    with database.begin() as transaction:
        assert release_held(transaction, SERIES) == 1
    registry.watch.adopt()  # what it does by itself every few seconds
    _end(registry, "wake-up")

    _wait(lambda: closed)


def test_a_late_instance_makes_the_next_revision(start):
    registry, closed = start()
    _store(registry, 1)
    _end(registry)
    _wait(lambda: closed)

    _store(registry, 2, "b")
    _end(registry, "b")

    _wait(lambda: len(closed) == 2)
    assert [each.revision for each in closed] == [1, 2]
    assert closed[0].digest != closed[1].digest


def test_a_restart_takes_up_what_was_open(start):
    first, closed = start(quiet_seconds=60.0)
    _store(first, 1)
    first.stop()
    assert closed == []

    _, closed_later = start()

    _wait(lambda: closed_later)
    assert closed_later[0].series_instance_uid == SERIES


def test_no_receiver_closes_what_another_is_bringing(start, database):
    one, closed_by_one = start("one", inquiry=Answers(contiguous=True))
    other, closed_by_other = start("other", inquiry=Answers(contiguous=True))
    _store(one, 1, "a")
    _store(other, 2, "b")

    _end(one, "a")
    threading.Event().wait(0.8)  # more than settle and quiet time of the first receiver
    assert (closed_by_one, closed_by_other) == ([], [])
    _store(other, 3, "b")
    _end(other, "b")

    _wait(lambda: closed_by_one or closed_by_other)
    (revision,) = closed_by_one + closed_by_other
    assert revision.revision == 1
    assert _row(database).instance_count == 3


def test_instances_of_another_receiver_start_the_quiet_time_anew(start, database):
    one, closed = start("one", quiet_seconds=0.6)
    _store(one, 1)
    _end(one)
    with database.begin() as transaction:
        record_instance(transaction, "chest", _ref(2), calling_ae_title="CT", at=datetime.now(UTC))

    _wait(lambda: _row(database).state == "closed")

    assert len(closed) == 1
    assert _row(database).instance_count == 2


def test_associations_of_a_receiver_that_died_hold_nothing_after_its_restart(start):
    dead, _ = start("dead", quiet_seconds=60.0)
    _store(dead, 1, "open-for-ever")
    dead.stop()
    living, closed = start("living")
    _store(living, 2, "b")
    _end(living, "b")
    threading.Event().wait(0.8)  # more than the quiet time
    assert closed == []

    _, closed_again = start("dead", quiet_seconds=0.3)

    _wait(lambda: closed or closed_again)
