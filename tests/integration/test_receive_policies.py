"""What is accepted, what is recorded of the rest, and what happens when room runs out."""

from __future__ import annotations

from functools import partial

import pytest
from pydicom import dcmread

from dicomnode.config import CompletionConfig
from dicomnode.database import open_database
from dicomnode.database.note_rows import list_notes
from dicomnode.receive.acceptance import StorePolicy
from dicomnode.receive.limits import Limits
from dicomnode.receive.notes import IgnoredInstances
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.standard.sop_classes import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN
from tests.support.ct import make_series
from tests.support.scp import running_receiver

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
CT = (CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN)


@pytest.fixture(params=["fast", "pynetdicom"])
def data_path(request):
    return request.param


@pytest.fixture
def run(tmp_path, data_path):
    """A receiver with either data path: what it decides must be the same."""
    return partial(running_receiver, tmp_path, data_path=data_path)


@pytest.fixture
def series(tmp_path):
    return [dcmread(each) for each in make_series(tmp_path / "ct", shape_kji=(3, 7, 5))]


@pytest.fixture
def database(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    yield database
    database.close()


def as_capture(data_set):
    data_set.SOPClassUID = data_set.file_meta.MediaStorageSOPClassUID = CAPTURE
    return data_set


def send(receiver, data_sets, *contexts):
    assoc = receiver.associate(*contexts or (CT,))
    statuses = [assoc.send_c_store(each).Status for each in data_sets]
    assoc.release()
    return statuses


def test_what_is_ignored_is_recorded(run, database, series):
    capture = as_capture(series[0])
    with run(more={"ignored": IgnoredInstances(database).note}) as receiver:
        context = (CAPTURE, EXPLICIT_VR_LITTLE_ENDIAN)
        assert send(receiver, [capture, capture], context) == [0x0000, 0x0000]

    with database.begin() as transaction:
        (note,) = list_notes(transaction)
    assert (note.kind, note.pipeline, note.times) == ("ignored", "chest", 2)
    assert (note.sop_class_uid, note.sop_instance_uid) == (CAPTURE, capture.SOPInstanceUID)


def test_what_cannot_be_recorded_as_ignored_is_no_success(run, series):
    def fail(*_, **__):
        raise RuntimeError("no database")

    with run(more={"ignored": fail}) as receiver:
        context = (CAPTURE, EXPLICIT_VR_LITTLE_ENDIAN)
        assert send(receiver, [as_capture(series[0])], context) == [0xA700]


def test_a_pipeline_may_refuse_others_at_negotiation_while_another_ignores_them(run):
    policies = {"chest": StorePolicy(refuse_others=True)}
    with run(more={"policies": policies}) as receiver:
        context = (CAPTURE, EXPLICIT_VR_LITTLE_ENDIAN)
        strict = receiver.associate(CT, context)
        lenient = receiver.associate(CT, context, called="LUNG")

        assert [each.abstract_syntax for each in strict.accepted_contexts] == [CT_IMAGE]
        assert [each.abstract_syntax for each in strict.rejected_contexts] == [CAPTURE]
        assert len(lenient.accepted_contexts) == 2
        strict.release()
        lenient.release()


def test_a_pipeline_stores_the_classes_it_names(run, series):
    policies = {"chest": StorePolicy([CAPTURE])}
    with run(more={"policies": policies}) as receiver:
        capture = as_capture(series[0])
        statuses = send(receiver, [capture, series[1]], CT, (CAPTURE, EXPLICIT_VR_LITTLE_ENDIAN))

        assert statuses == [0x0000, 0x0000]
        (ref,) = receiver.sink.refs()
        assert ref.sop_class_uid == CAPTURE


@pytest.mark.parametrize(
    ("policy", "statuses"),
    [("keep-first", [0, 0, 0]), ("replace", [0, 0, 0]), ("refuse", [0, 0x0111, 0])],
)
def test_other_content_under_a_known_uid_follows_the_policy(
    run, database, tmp_path, series, policy, statuses
):
    registry = SeriesRegistry(
        database,
        completion={"chest": CompletionConfig()},
        submit=lambda _transaction, _revision: None,
        duplicates={"chest": policy},
    )
    registry.start()
    other = dcmread(series[0].filename)
    other.PixelData = bytes(len(other.PixelData))
    with run(sink=registry) as receiver:
        assert send(receiver, [series[0], other, series[1]]) == statuses

        registry.stop()
        kept = {ref.sop_instance_uid: ref for _, ref in receiver.store.scan()}
        files = list((tmp_path / "spool").rglob(f"{other.SOPInstanceUID}.*"))
    assert len(kept) == 2
    # The old version stays on disk where an analysis may still read it.
    assert len(files) == (2 if policy == "replace" else 1)


def test_below_the_headroom_new_associations_are_rejected_and_open_ones_go_on(run, series):
    with run() as receiver:
        assoc = receiver.associate(CT)
        receiver.scp._limits._headroom_bytes = 1 << 60

        late = receiver.associate(CT)

        assert late.is_rejected
        answer = late.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 1)
        assert assoc.send_c_store(series[0]).Status == 0x0000
        assoc.release()


def test_a_pipeline_with_a_used_up_quota_leaves_the_other_its_room(run, tmp_path, series):
    limits = Limits(
        InstanceStore(tmp_path / "spool", reserve_bytes=0),
        quotas={"chest": 2500},
        stored_bytes=lambda _pipeline: 0,
    )
    with run(more={"limits": limits}) as receiver:
        statuses = send(receiver, series)

        assert statuses[0] == 0x0000
        assert statuses[-1] == 0xA700
        limits.add("chest", 2500)
        assert receiver.associate(CT).is_rejected
        lung = receiver.associate(CT, called="LUNG")
        assert lung.send_c_store(series[0]).Status == 0x0000
        lung.release()
        assert len(list(receiver.store.scan())) == statuses.count(0) + 1


def test_an_instance_over_the_size_is_refused_and_the_association_goes_on(run, series):
    large = dcmread(series[0].filename)
    large.add_new(0x7FE10010, "OW", bytes(3_000_000))
    with run(max_instance_bytes=1_000_000) as receiver:
        assert send(receiver, [series[1], large, series[2]]) == [0x0000, 0xA700, 0x0000]
        assert len(list(receiver.store.scan())) == 2
        assert receiver.quarantine.list() == ()
