"""Two data sets under one SOP Instance UID: which stays, and that it is recorded."""

from dataclasses import replace

import pytest

from dicomnode.config import CompletionConfig
from dicomnode.database import open_database
from dicomnode.database.note_rows import list_notes
from dicomnode.database.series_rows import close_series, get_series, list_instances
from dicomnode.errors import DuplicateInstance
from dicomnode.model.instance import InstanceRef
from dicomnode.series.registry import SeriesRegistry

FIRST = InstanceRef(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.4",
    study_instance_uid="1.2.3",
    series_instance_uid="1.2.3.1",
    transfer_syntax_uid="1.2.840.10008.1.2.1",
    digest="a" * 64,
    size_bytes=1000,
    key="instances/chest/1.2.3.1/1.2.3.4.aaaaaaaaaaaaaaaa.dcm",
)
OTHER = replace(FIRST, digest="b" * 64, size_bytes=900, key=FIRST.key.replace("aaaa", "bbbb"))


@pytest.fixture
def database(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    yield database
    database.close()


@pytest.fixture
def make(database):
    started = []

    def registry(policy):
        registry = SeriesRegistry(
            database,
            completion={"chest": CompletionConfig(quiet_seconds=600.0, deadline_seconds=3600.0)},
            submit=lambda _transaction, _revision: None,
            duplicates={"chest": policy},
        )
        registry.start()
        started.append(registry)
        return registry

    yield registry
    for each in started:
        each.stop()


def tell(registry, ref):
    return registry.instance_stored("chest", ref, calling_ae_title="CT1", association_id="a1")


def rows(database, registry):
    registry.flush()
    with database.begin() as transaction:
        kept = list_instances(transaction, "chest", FIRST.series_instance_uid)
        return kept, list_notes(transaction, pipeline="chest")


@pytest.mark.parametrize("policy", ["keep-first", "replace", "refuse"])
def test_the_same_bytes_again_change_nothing(database, make, policy):
    registry = make(policy)

    assert [tell(registry, FIRST), tell(registry, FIRST)] == [True, True]

    assert rows(database, registry) == ((FIRST,), ())


def test_the_first_is_kept_by_default(database, make):
    registry = make("keep-first")
    tell(registry, FIRST)

    assert tell(registry, OTHER) is False
    assert tell(registry, OTHER) is False

    kept, (note,) = rows(database, registry)
    assert kept == (FIRST,)
    assert (note.kind, note.digest, note.times) == ("kept-first", OTHER.digest, 2)
    assert (note.sop_instance_uid, note.calling_ae_title) == (FIRST.sop_instance_uid, "CT1")


def test_the_second_may_be_refused(database, make):
    registry = make("refuse")
    tell(registry, FIRST)

    with pytest.raises(DuplicateInstance) as caught:
        tell(registry, OTHER)

    assert caught.value.status == 0x0111
    kept, (note,) = rows(database, registry)
    assert kept == (FIRST,)
    assert (note.kind, note.digest) == ("refused", OTHER.digest)


def test_the_second_may_replace_the_first_and_opens_the_series_anew(database, make):
    registry = make("replace")
    tell(registry, FIRST)
    registry.flush()
    with database.begin() as transaction:
        first = close_series(transaction, "chest", FIRST.series_instance_uid, because="quiet")

    assert tell(registry, OTHER) is True

    kept, (note,) = rows(database, registry)
    assert kept == (OTHER,)
    assert (note.kind, note.digest) == ("replaced", FIRST.digest)
    with database.begin() as transaction:
        row = get_series(transaction, "chest", FIRST.series_instance_uid)
        assert (row.state, row.instance_count) == ("open", 1)
        second = close_series(transaction, "chest", FIRST.series_instance_uid, because="quiet")
    assert second.digest != first.digest


def test_nothing_replaces_an_instance_of_another_series(database, make):
    registry = make("replace")
    tell(registry, FIRST)

    tell(registry, replace(OTHER, series_instance_uid="1.2.3.2"))

    kept, (note,) = rows(database, registry)
    assert kept == (FIRST,)
    assert note.kind == "kept-first"


def test_an_instance_of_another_series_may_be_refused_before_and_after_its_row_is_written(
    database, make
):
    registry = make("refuse")
    tell(registry, FIRST)

    for flush in (False, True):
        if flush:
            registry.flush()
        with pytest.raises(DuplicateInstance):
            tell(registry, replace(OTHER, series_instance_uid="1.2.3.2"))

    kept, (note,) = rows(database, registry)
    assert kept == (FIRST,)
    assert (note.kind, note.times) == ("refused", 2)


@pytest.mark.parametrize(
    ("policy", "kept", "kind"),
    [
        ("keep-first", FIRST, "kept-first"),
        ("replace", OTHER, "replaced"),
    ],
)
def test_what_another_process_received_meanwhile_is_decided_when_the_row_is_written(
    database, make, policy, kept, kind
):
    here, there = make(policy), make(policy)
    also = replace(FIRST, sop_instance_uid="1.2.3.9", key=FIRST.key.replace("1.2.3.4", "1.2.3.9"))
    tell(here, also)  # from now on it believes to know the series
    tell(there, FIRST)
    there.flush()

    assert tell(here, OTHER) is True

    found, (note,) = rows(database, here)
    assert found == (kept, also)
    assert note.kind == kind


def test_the_start_up_scan_replaces_nothing(database, make):
    registry = make("replace")
    tell(registry, FIRST)

    registry.flush()

    assert registry.restore([("chest", OTHER)]) == 0

    assert rows(database, registry)[0] == (FIRST,)
