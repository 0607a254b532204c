"""What the receiver tells the registry, and what rows and revisions come of it."""

import threading
from dataclasses import replace

import pytest

from dicomnode.config import CompletionConfig
from dicomnode.database import open_database
from dicomnode.database.series_rows import list_instances, list_series
from dicomnode.errors import StateError
from dicomnode.model.instance import InstanceRef
from dicomnode.series import batches
from dicomnode.series.registry import SeriesRegistry

SERIES = "1.2.5"


def ref(number: int, *, series: str = SERIES, content: str = "") -> InstanceRef:
    uid = f"1.2.3.{number}"
    return InstanceRef(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=uid,
        study_instance_uid="1.2.31",
        series_instance_uid=series,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest=f"{number:04x}{content}".ljust(64, "0"),
        size_bytes=10,
        key=f"instances/chest/{series}/{uid}.{number:04x}{content}.dcm",
    )


class Submitted:
    """The revisions handed to the job engine."""

    def __init__(self):
        self.revisions = []
        self.changed = threading.Condition()

    def __call__(self, _transaction, revision):
        with self.changed:
            self.revisions.append(revision)
            self.changed.notify_all()

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.revisions) >= count, 20)
            return self.revisions


@pytest.fixture
def database(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    yield database
    database.close()


@pytest.fixture
def submitted():
    return Submitted()


@pytest.fixture
def make(database, submitted):
    made = []

    def make_registry(*, quiet_seconds=3600.0, start=True):
        registry = SeriesRegistry(
            database,
            completion={"chest": CompletionConfig(quiet_seconds=quiet_seconds)},
            submit=submitted,
        )
        if start:
            registry.start()
            made.append(registry)
        return registry

    yield make_registry
    for registry in made:
        registry.stop()


def store(registry, *refs, association="a1"):
    for each in refs:
        registry.instance_stored("chest", each, calling_ae_title="CT1", association_id=association)


def rows(database, series=SERIES):
    with database.begin() as transaction:
        return list_instances(transaction, "chest", series)


def series_row(database):
    with database.begin() as transaction:
        (row,) = list_series(transaction)
    return row


def test_rows_follow_within_a_moment_and_flush_waits_for_them(make, database):
    registry = make()
    stored = [ref(number) for number in range(1, 40)]
    store(registry, *stored)

    registry.flush()

    assert set(rows(database)) == set(stored)
    row = series_row(database)
    assert (row.state, row.instance_count, row.calling_ae_title) == ("open", 39, "CT1")


def test_rows_of_two_associations_and_two_series_are_told_apart(make, database):
    registry = make()
    for number in range(1, 21):
        series = f"1.2.{5 + number % 2}"
        store(registry, ref(number, series=series), association=f"a{number % 3}")
    registry.flush()

    assert len(rows(database, "1.2.5")) == len(rows(database, "1.2.6")) == 10


def test_the_first_instance_of_a_series_does_not_wait_for_rows_of_others(
    make, database, monkeypatch
):
    monkeypatch.setattr(batches, "_GATHER_SECONDS", 600.0)
    registry = make()
    store(registry, ref(1, series="1.2.5"))
    store(registry, ref(2, series="1.2.6"))

    assert rows(database, "1.2.5") == rows(database, "1.2.6") == ()

    registry.flush()
    assert len(rows(database, "1.2.5")) == len(rows(database, "1.2.6")) == 1


def test_rows_that_wait_count_when_a_series_is_taken_up_anew(make, database, monkeypatch):
    monkeypatch.setattr(batches, "_GATHER_SECONDS", 600.0)
    registry = make()
    store(registry, ref(1))
    registry.intake.forget(("chest", SERIES))

    is_kept = registry.instance_stored(
        "chest", ref(1, content="other"), calling_ae_title="CT1", association_id="a2"
    )

    assert is_kept is False
    assert rows(database) == (ref(1),)


@pytest.mark.parametrize("is_flushed_between", [False, True])
def test_an_instance_that_comes_twice_is_counted_once(make, database, is_flushed_between):
    registry = make()
    store(registry, ref(1), ref(2))
    if is_flushed_between:
        registry.flush()
    store(registry, ref(1), ref(1), association="a2")
    registry.flush()

    assert rows(database) == (ref(1), ref(2))
    assert series_row(database).instance_count == 2


@pytest.mark.parametrize("is_restarted_between", [False, True])
def test_of_two_with_one_uid_and_other_content_the_first_stays(
    make, database, is_restarted_between
):
    registry = make()
    store(registry, ref(1))
    if is_restarted_between:
        registry.flush()
        registry = make()
    store(registry, ref(1, content="b"))
    registry.flush()

    assert rows(database) == (ref(1),)


def test_an_instance_of_another_series_does_not_take_a_uid_over(make, database):
    registry = make()
    store(registry, ref(1), replace(ref(1), series_instance_uid="1.2.6", digest="f" * 64))
    registry.flush()

    assert rows(database) == (ref(1),)
    assert rows(database, "1.2.6") == ()


def test_a_series_is_closed_after_the_rows_of_all_its_instances(make, database, submitted):
    registry = make(quiet_seconds=0.05)
    stored = [ref(number) for number in range(1, 30)]
    store(registry, *stored)
    registry.association_ended("a1", pipeline="chest", how="released")

    (revision,) = submitted.wait_for(1)

    assert revision.revision == 1
    assert set(rows(database)) == set(stored)
    assert series_row(database).instance_count == 29


def test_an_association_that_ended_before_its_rows_were_written_holds_no_series(make, submitted):
    """Both are told in order, though the rows come later."""
    registry = make(quiet_seconds=0.05)
    for number in range(1, 6):
        store(registry, ref(number, series=f"1.2.5{number}"), association=f"a{number}")
        registry.association_ended(f"a{number}", pipeline="chest", how="aborted")

    assert len(submitted.wait_for(5)) == 5


def test_a_series_stays_open_while_an_association_brings_it(make, submitted):
    registry = make(quiet_seconds=0.05)
    store(registry, ref(1))
    registry.flush()
    assert not submitted.revisions
    pause = threading.Event()
    pause.wait(0.3)  # nothing is to happen

    assert not submitted.revisions
    registry.association_ended("a1", pipeline="chest", how="released")
    submitted.wait_for(1)


def test_what_a_crash_left_without_rows_is_restored_once(make, database):
    registry = make(start=False)
    found = [("chest", ref(number)) for number in range(1, 451)]

    assert registry.restore(iter(found[:300])) == 300
    assert registry.restore(iter(found)) == 150
    assert registry.restore(iter(())) == 0
    assert series_row(database).instance_count == 450


def test_what_is_restored_tells_who_sent_it(make, database):
    make(start=False).restore([("chest", ref(1))], source_ae_title=lambda _ref: "CT7")

    assert series_row(database).calling_ae_title == "CT7"


def test_a_database_that_takes_no_rows_is_told_to_the_receiver(make, database, monkeypatch):
    registry = make()
    store(registry, ref(1))
    registry.flush()
    failed = threading.Event()

    def fail(*_):
        failed.set()
        raise RuntimeError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr("dicomnode.series.intake.record_instances", fail)
        store(registry, ref(2))
        assert failed.wait(10)
        with pytest.raises(StateError, match="takes no rows"):
            registry.intake._rows.flush(0.2)
        with pytest.raises(StateError, match="takes no rows"):
            store(registry, ref(3))
    registry.flush()

    assert rows(database) == (ref(1), ref(2))
    store(registry, ref(3))
