"""What the registry does with what it is told, and when; the clock is the test's."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from dicomnode.config import CompletionConfig
from dicomnode.database import open_database
from dicomnode.database.series_rows import get_series, list_series, record_instance
from dicomnode.metrics import SERIES_CLOSED
from dicomnode.model.instance import InstanceRef
from dicomnode.series.completion import InstanceStored
from dicomnode.series.registry import SeriesRegistry
from tests.support.node import wait_until

QUIET = 10.0
DEADLINE = 100.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Submitted:
    """The job engine's door: what was handed over, and what is to go wrong."""

    def __init__(self):
        self.revisions = []
        self.faults = 0
        self._changed = threading.Condition()

    def __call__(self, _transaction, revision):
        if self.faults:
            self.faults -= 1
            with self._changed:
                self._changed.notify_all()
            raise RuntimeError("no room in the queue")
        with self._changed:
            self.revisions.append(revision)
            self._changed.notify_all()
        return f"job {len(self.revisions)}"

    def of(self, series):
        with self._changed:
            return [each for each in self.revisions if each.series_instance_uid == series]

    def wait_for_fault(self):
        with self._changed:
            assert self._changed.wait_for(lambda: not self.faults, 10)


class House:
    """A registry with all around it."""

    def __init__(self, data_dir):
        self.database = open_database("sqlite", data_dir=data_dir)
        self.clock = Clock()
        self.submitted = Submitted()
        self.settled = 0
        self.registry = self.build()

    def build(self, *, pipelines=("chest",)):
        limits = CompletionConfig(quiet_seconds=QUIET, deadline_seconds=DEADLINE)
        return SeriesRegistry(
            self.database,
            completion=dict.fromkeys(pipelines, limits),
            submit=self.submitted,
            clock=self.clock,
        )

    def store(self, number, *, association="a", series="1.2.3", content="a", pipeline="chest"):
        self.registry.instance_stored(
            pipeline,
            ref(number, series=series, content=content),
            calling_ae_title="CT1",
            association_id=association,
        )
        self.registry.flush()

    def end(self, association="a", how="released"):
        self.registry.association_ended(association, pipeline="chest", how=how)

    def wait(self, seconds):
        """Let time pass, and have the closer look at the clock."""
        self.clock.now += seconds
        self.registry.association_ended("nobody", pipeline="chest", how="released")

    def row(self, series="1.2.3"):
        with self.database.begin() as transaction:
            return get_series(transaction, "chest", series)

    def wait_for_close(self, revision=1, series="1.2.3"):
        """Wait until a revision is closed; return all that were submitted of the series."""

        def closed():
            row = self.row(series)
            return (row.state, row.revision) == ("closed", revision)

        wait_until(closed, 10, f"revision {revision} of {series} was closed")
        return self.submitted.of(series)

    def settle(self):
        """Have another series closed: the closer then has done all that was due before."""
        self.settled += 1
        other = f"9.{self.settled}"
        self.store(1, association=other, series=other)
        self.end(other)
        self.wait(QUIET)
        self.wait_for_close(series=other)


def closes():
    """How many series the metrics say were closed for being quiet."""
    return SERIES_CLOSED.labels("chest", "quiet")._value.get()


def ref(number, *, series="1.2.3", content="a"):
    return InstanceRef(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"{series}.{number}",
        study_instance_uid="1.2",
        series_instance_uid=series,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest=content * 64,
        size_bytes=1,
        key=f"instances/chest/{series}/{number}.{content}.dcm",
    )


@pytest.fixture
def house(tmp_path):
    made = House(tmp_path)
    made.registry.start()
    yield made
    made.registry.stop()
    made.database.close()


def test_a_quiet_series_is_closed_and_submitted_once(house):
    house.store(1)
    house.store(2)
    house.end()
    house.wait(QUIET)

    [revision] = house.wait_for_close()
    assert (revision.series_instance_uid, revision.revision) == ("1.2.3", 1)
    assert revision.digest == house.row().digest
    house.wait(10 * DEADLINE)
    house.settle()
    assert house.submitted.of("1.2.3") == [revision]


def test_a_series_waits_for_the_end_of_its_association(house):
    house.store(1)
    house.wait(QUIET + 1)
    house.settle()
    assert house.row().state == "open"

    house.end()

    house.wait_for_close()


def test_an_association_that_stays_open_holds_a_series_to_the_deadline_only(house):
    house.store(1)
    house.wait(DEADLINE - QUIET - 1)
    house.settle()
    assert house.row().state == "open"

    house.wait(1)

    house.wait_for_close()
    assert house.row().closed_because == "deadline"


def test_after_an_aborted_association_the_sender_gets_the_quiet_time_anew(house):
    house.store(1)
    house.clock.now += QUIET
    house.settle()
    house.end(how="aborted")
    house.wait(QUIET - 1)
    assert house.row().state == "open"

    house.wait(1)

    house.wait_for_close()


def test_a_late_instance_makes_a_second_revision(house):
    house.store(1)
    house.end()
    house.wait(QUIET)
    house.wait_for_close()

    house.store(2, association="b")
    house.end("b")
    house.wait(QUIET)

    first, second = house.wait_for_close(2)
    assert (first.revision, second.revision) == (1, 2)
    assert first.digest != second.digest


def test_a_repeat_after_the_close_opens_nothing(house):
    house.store(1)
    house.end()
    house.wait(QUIET)
    [revision] = house.wait_for_close()

    house.store(1, association="b")
    house.end("b")
    house.wait(DEADLINE)

    house.settle()
    assert house.submitted.of("1.2.3") == [revision]


def test_another_content_of_a_known_uid_is_told_and_changes_nothing(house, capsys):
    house.store(1)
    house.end()
    house.wait(QUIET)
    [revision] = house.wait_for_close()

    house.store(1, association="b", content="b")
    house.end("b")

    assert "instance_differs_from_first" in capsys.readouterr().out
    house.settle()
    assert house.submitted.of("1.2.3") == [revision]


def test_series_of_one_association_are_closed_each_for_itself(house):
    house.store(1, series="1.1")
    house.clock.now += QUIET
    house.store(1, series="1.2")
    house.end()

    house.wait_for_close(series="1.1")
    assert house.row("1.2").state == "open"
    house.wait(QUIET)
    house.wait_for_close(series="1.2")


def test_a_fault_in_submitting_leaves_the_series_open_and_it_is_tried_again(house):
    house.submitted.faults = 1
    house.store(1)
    house.end()
    house.wait(QUIET)
    house.submitted.wait_for_fault()
    assert (house.row().state, house.row().revision) == ("open", 0)

    # Other series are closed meanwhile, and so much time passes that this one is, too.
    house.settle()
    house.wait(QUIET)

    [revision] = house.wait_for_close()
    assert revision.revision == 1


def test_an_instance_between_the_close_and_its_bookkeeping_opens_the_series_anew(house):
    """The row is closed, the registry has not noted it yet, and an instance comes."""
    database = house.database

    class InstanceAfterCommit:
        @contextmanager
        def begin(self):
            with database.begin() as transaction:
                yield transaction
            if house.row().state == "closed":
                house.registry.watch._database = house.registry.intake._database = database
                house.store(2, association="late")

    house.store(1)
    house.registry.watch._database = house.registry.intake._database = InstanceAfterCommit()
    house.end()
    house.wait(QUIET)
    wait_until(lambda: house.row().instance_count == 2, 10, "the late instance was recorded")
    house.end("late")
    house.wait(QUIET)

    first, second = house.wait_for_close(2)
    assert (first.revision, second.revision) == (1, 2)


def test_an_instance_that_another_receiver_records_meanwhile_puts_the_close_off(house):
    """Its row was there in time for the revision; the registry was told of it afterwards."""
    database = house.database

    class InstanceBeforeClose:
        @contextmanager
        def begin(self):
            if threading.current_thread() is not house.registry.watch._closer:
                with database.begin() as transaction:
                    yield transaction
                return
            house.registry.watch._database = house.registry.intake._database = database
            with database.begin() as transaction:
                record_instance(
                    transaction, "chest", ref(2), calling_ae_title="CT1", at=datetime.now(UTC)
                )
            with database.begin() as transaction:
                yield transaction
            with house.registry.watch._lock:
                told = InstanceStored(at=house.clock(), association_id="late")
                house.registry.watch._apply(("chest", "1.2.3"), told)
                house.registry.intake._touched["late"].add(("chest", "1.2.3"))

    before = closes()
    house.store(1)
    house.registry.watch._database = house.registry.intake._database = InstanceBeforeClose()
    house.end()
    house.wait(QUIET)
    wait_until(lambda: "late" in house.registry.intake._touched, 10, "the registry was told")
    assert house.row().state == "open"  # somebody else was at it: not quiet after all

    house.end("late")
    house.wait(QUIET)
    [revision] = house.wait_for_close()
    house.settle()

    assert house.submitted.of("1.2.3") == [revision]
    assert house.row().instance_count == 2
    # This one and settle's own; a series is closed a moment before it is counted.
    wait_until(lambda: closes() >= before + 2, 10, "both were counted")
    assert closes() == before + 2


def test_what_was_closed_is_forgotten_even_if_its_association_ends_meanwhile(house):
    database = house.database

    class EndAfterCommit:
        @contextmanager
        def begin(self):
            with database.begin() as transaction:
                yield transaction
            if threading.current_thread() is not house.registry.watch._closer:
                return
            house.registry.watch._database = house.registry.intake._database = database
            house.end()

    house.store(1)
    house.registry.watch._database = house.registry.intake._database = EndAfterCommit()
    house.wait(DEADLINE)
    house.wait_for_close()
    house.settle()

    with house.registry.watch._lock:
        assert ("chest", "1.2.3") not in house.registry.watch._open


def test_a_restart_takes_up_open_series_and_waits_the_quiet_time_anew(house):
    house.store(1)
    house.registry.stop()
    house.clock.now += 3 * DEADLINE

    house.registry = house.build()
    house.registry.start()
    house.wait(QUIET - 1)
    assert house.row().state == "open"
    house.wait(1)

    house.wait_for_close()
    assert house.row().closed_because == "quiet"


def test_a_restart_takes_up_every_open_series(tmp_path):
    house = House(tmp_path)
    count = 1203
    with house.database.begin() as transaction:
        for number in range(count):
            record_instance(
                transaction,
                "chest",
                ref(1, series=f"1.2.{number}"),
                calling_ae_title="CT1",
                at=datetime.now(UTC),
            )

    house.registry.start()
    with house.registry.watch._lock:
        taken_up = len(house.registry.watch._open)
    house.registry.stop()
    house.database.close()

    assert taken_up == count


def test_a_series_of_a_pipeline_that_is_gone_stays_open_and_is_told(house, capsys):
    house.store(1)
    house.registry.stop()

    house.registry = house.build(pipelines=("other",))
    house.registry.start()
    house.wait(DEADLINE)

    assert "series_of_unknown_pipeline" in capsys.readouterr().out
    assert house.row().state == "open"


def test_restore_records_what_the_spool_alone_holds(house):
    house.store(1)

    assert house.registry.restore([("chest", ref(1)), ("chest", ref(2))]) == 1

    with house.database.begin() as transaction:
        [found] = list_series(transaction)
    assert (found.state, found.instance_count) == ("open", 2)


def test_a_stopped_registry_closes_nothing(house):
    house.store(1)
    house.end()
    house.registry.stop()
    house.wait(DEADLINE)

    assert house.row().state == "open"
    assert house.submitted.revisions == []
