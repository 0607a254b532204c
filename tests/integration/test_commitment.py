"""The Storage Commitment SCP against an SCU: reports on either association, and a restart."""

from __future__ import annotations

import ssl
import threading
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicomnode.config import CommitmentConfig, CommitmentPeer, CompletionConfig, TlsClientConfig
from dicomnode.database import open_database
from dicomnode.database.commitment_rows import get_commitment, list_commitments
from dicomnode.database.note_rows import add_note
from dicomnode.database.series_rows import record_instance
from dicomnode.receive.commitment import Commitments
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.standard.sop_classes import CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN
from tests.support.certificates import Authority
from tests.support.ct import make_series
from tests.support.node import wait_until
from tests.support.scp import RecordingSink, running_receiver

PUSH = (StorageCommitmentPushModel, EXPLICIT_VR_LITTLE_ENDIAN)
CT = (CT_IMAGE, EXPLICIT_VR_LITTLE_ENDIAN)


class RecordedSink(RecordingSink):
    """Also records instances in the database, as the node does."""

    def __init__(self, database):
        super().__init__()
        self.database = database

    def instance_stored(self, pipeline, ref, *, calling_ae_title, association_id):
        with self.database.begin() as transaction:
            record_instance(
                transaction, pipeline, ref, calling_ae_title=calling_ae_title, at=datetime.now(UTC)
            )
        super().instance_stored(
            pipeline, ref, calling_ae_title=calling_ae_title, association_id=association_id
        )


@pytest.fixture
def database(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    yield database
    database.close()


@pytest.fixture
def series(tmp_path):
    return [dcmread(each) for each in make_series(tmp_path / "ct", shape_kji=(3, 7, 5))]


@contextmanager
def running_commitments(database, tmp_path, **config):
    commitments = Commitments(
        database,
        InstanceStore(tmp_path / "spool", reserve_bytes=0),
        CommitmentConfig(**({"first_retry_seconds": 0.1, "timeout_seconds": 5} | config)),
        claim_seconds=0.5,
        settle_seconds=0.2,
    )
    commitments.start()
    try:
        yield commitments
    finally:
        commitments.stop()


@contextmanager
def node(database, tmp_path, **config):
    with (
        running_commitments(database, tmp_path, **config) as commitments,
        running_receiver(
            tmp_path, sink=RecordedSink(database), more={"commitment": commitments}
        ) as receiver,
    ):
        yield receiver


class Reports:
    """Hears N-EVENT-REPORTs."""

    def __init__(self, status=0x0000):
        self.status = status
        self.heard = []
        self.changed = threading.Condition()

    def __call__(self, event):
        with self.changed:
            self.heard.append((event.event_type, event.event_information, event.assoc))
            self.changed.notify_all()
        return self.status, None

    def wait(self, count=1):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.heard) >= count, 10), self.heard
            return self.heard[-1]


@contextmanager
def listening(reports, *, callers=(), **server):
    """The requesting side's own listener, for reports over a new association."""
    ae = AE(ae_title="TEST")
    ae.require_calling_aet = list(callers)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    running = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports)], **server
    )
    try:
        yield CommitmentPeer(
            ae_title="TEST", host="127.0.0.1", port=running.socket.getsockname()[1]
        )
    finally:
        running.shutdown()


def request(assoc, instances, transaction_uid=None, *, action=1, instance_uid=None):
    information = Dataset()
    information.TransactionUID = transaction_uid or generate_uid()
    information.ReferencedSOPSequence = [Dataset() for _ in instances]
    for item, (sop_class, uid) in zip(information.ReferencedSOPSequence, instances, strict=True):
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    status, _ = assoc.send_n_action(
        information,
        action,
        StorageCommitmentPushModel,
        instance_uid or StorageCommitmentPushModelInstance,
    )
    return status.Status


def references(series):
    return [(each.SOPClassUID, each.SOPInstanceUID) for each in series]


def uids(sequence):
    return [each.ReferencedSOPInstanceUID for each in sequence]


def store(receiver, series):
    assoc = receiver.associate(CT)
    assert [assoc.send_c_store(each).Status for each in series] == [0] * len(series)
    assoc.release()


def test_all_that_is_there_is_committed_over_a_new_association(database, tmp_path, series):
    reports = Reports()
    with listening(reports) as peer, node(database, tmp_path, peers=(peer,)) as receiver:
        store(receiver, series)
        assoc = receiver.associate(PUSH)
        transaction_uid = generate_uid()
        assert request(assoc, references(series), transaction_uid) == 0x0000
        assoc.release()

        kind, information, over = reports.wait()

        assert kind == 1
        assert information.TransactionUID == transaction_uid
        assert uids(information.ReferencedSOPSequence) == [s.SOPInstanceUID for s in series]
        assert "FailedSOPSequence" not in information
        assert over.requestor.ae_title.strip() == "CHEST"
        wait_until(lambda: state(database) == "reported", 5, "it is recorded as reported")


def test_a_peer_that_cannot_be_called_back_hears_on_its_own_association(database, tmp_path, series):
    reports = Reports()
    with node(database, tmp_path) as receiver:
        store(receiver, series)
        assoc = receiver.associate(PUSH, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports)])
        assert request(assoc, references(series)) == 0x0000

        kind, information, over = reports.wait()

        assert kind == 1
        assert len(information.ReferencedSOPSequence) == len(series)
        assert over is assoc
        wait_until(lambda: state(database) == "reported", 5, "it is recorded as reported")
        assoc.release()


@pytest.mark.parametrize("data_path", ["fast", "pynetdicom"])
def test_what_was_stored_a_moment_ago_is_committed_on_the_association_that_brought_it(
    database, tmp_path, series, data_path
):
    """Its rows are on their way still, and the association goes on storing afterwards."""
    reports = Reports()
    registry = SeriesRegistry(
        database,
        completion={"chest": CompletionConfig()},
        submit=lambda _transaction, _revision: None,
    )
    commitments = Commitments(
        database,
        InstanceStore(tmp_path / "spool", reserve_bytes=0),
        CommitmentConfig(timeout_seconds=5),
        flush=registry.flush,
        settle_seconds=60.0,
    )
    registry.start()
    commitments.start()
    more = {"commitment": commitments}
    with running_receiver(tmp_path, sink=registry, more=more, data_path=data_path) as receiver:
        assoc = receiver.associate(CT, PUSH, evt_handlers=[(evt.EVT_N_EVENT_REPORT, reports)])
        assert [assoc.send_c_store(each).Status for each in series[:2]] == [0, 0]
        assert request(assoc, references(series[:2])) == 0x0000

        kind, information, over = reports.wait()

        assert (kind, over) == (1, assoc)
        assert uids(information.ReferencedSOPSequence) == [s.SOPInstanceUID for s in series[:2]]
        assert assoc.send_c_store(series[2]).Status == 0x0000
        assoc.release()
    commitments.stop()
    registry.stop()


def test_each_instance_that_is_not_safe_is_named_with_its_reason(database, tmp_path, series):
    reports = Reports()
    ignored, unknown = generate_uid(), generate_uid()
    with listening(reports) as peer, node(database, tmp_path, peers=(peer,)) as receiver:
        store(receiver, series)
        whole, damaged, other_class = series
        (path,) = (tmp_path / "spool").rglob(f"{damaged.SOPInstanceUID}.*")
        content = bytearray(path.read_bytes())
        content[-1] ^= 0x01
        path.write_bytes(content)
        note(database, "ignored", ignored)
        capture = "1.2.840.10008.5.1.4.1.1.7"

        assoc = receiver.associate(PUSH)
        request(
            assoc,
            [
                (CT_IMAGE, whole.SOPInstanceUID),
                (CT_IMAGE, damaged.SOPInstanceUID),
                (capture, other_class.SOPInstanceUID),
                (capture, ignored),
                (CT_IMAGE, unknown),
            ],
        )
        assoc.release()
        kind, information, _ = reports.wait()

    assert kind == 2
    assert uids(information.ReferencedSOPSequence) == [whole.SOPInstanceUID]
    assert {
        each.ReferencedSOPInstanceUID: each.FailureReason for each in information.FailedSOPSequence
    } == {
        damaged.SOPInstanceUID: 0x0110,
        other_class.SOPInstanceUID: 0x0119,
        ignored: 0x0122,
        unknown: 0x0112,
    }


def test_what_was_also_sent_with_other_content_is_not_committed(database, tmp_path, series):
    """The peer might delete the version that is not here."""
    reports = Reports()
    with listening(reports) as peer, node(database, tmp_path, peers=(peer,)) as receiver:
        store(receiver, series)
        note(database, "kept-first", series[1].SOPInstanceUID)
        assoc = receiver.associate(PUSH)
        request(assoc, references(series))
        assoc.release()
        kind, information, _ = reports.wait()

    assert kind == 2
    assert uids(information.FailedSOPSequence) == [series[1].SOPInstanceUID]


def test_an_instance_whose_row_is_on_its_way_is_waited_for(database, tmp_path, series):
    reports = Reports()
    with listening(reports) as peer, node(database, tmp_path, peers=(peer,)) as receiver:
        sink, kept = receiver.sink, []
        record, sink.instance_stored = sink.instance_stored, lambda *a, **k: kept.append((a, k))
        store(receiver, series)
        look, looks = Commitments.check, []

        def check(commitments, row):
            looks.append(row)
            if len(looks) == 2:
                for arguments, named in kept:
                    record(*arguments, **named)
            return look(commitments, row)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Commitments, "check", check)
            assoc = receiver.associate(PUSH)
            request(assoc, references(series))
            assoc.release()
            kind, _, _ = reports.wait()

    assert (kind, len(looks)) == (1, 2)


def test_instances_of_another_pipeline_are_not_committed(database, tmp_path, series):
    reports = Reports()
    with listening(reports) as peer, node(database, tmp_path, peers=(peer,)) as receiver:
        store(receiver, series)
        assoc = receiver.associate(PUSH, called="LUNG")
        request(assoc, references(series))
        assoc.release()
        kind, information, _ = reports.wait()

    assert kind == 2
    assert {each.FailureReason for each in information.FailedSOPSequence} == {0x0112}


def test_a_request_survives_a_restart_between_answer_and_report(database, tmp_path, series):
    reports = Reports()
    transaction_uid = generate_uid()
    with listening(reports) as peer:
        # A node that answers and dies before it reports: its commitment thread never runs.
        asleep = Commitments(
            database,
            InstanceStore(tmp_path / "spool", reserve_bytes=0),
            CommitmentConfig(peers=(peer,)),
            claim_seconds=0.5,
        )
        with running_receiver(
            tmp_path, sink=RecordedSink(database), more={"commitment": asleep}
        ) as receiver:
            store(receiver, series)
            assoc = receiver.associate(PUSH)
            assert request(assoc, references(series), transaction_uid) == 0x0000
            assoc.release()
        assert reports.heard == []

        with running_commitments(database, tmp_path, peers=(peer,)):
            kind, information, _ = reports.wait()

    assert (kind, information.TransactionUID) == (1, transaction_uid)


def test_a_report_that_is_not_taken_is_tried_again(database, tmp_path, series):
    reports = Reports(status=0x0110)
    with listening(reports) as peer, node(database, tmp_path, peers=(peer,)) as receiver:
        store(receiver, series)
        assoc = receiver.associate(PUSH)
        request(assoc, references(series))
        assoc.release()
        reports.wait()
        reports.status = 0x0000

        reports.wait(2)
        wait_until(lambda: state(database) == "reported", 5, "it is recorded as reported")


def test_a_report_that_nobody_takes_is_parked(database, tmp_path, series):
    with (
        listening(Reports(), callers=["SOMEBODY"]) as peer,
        node(database, tmp_path, peers=(peer,), max_attempts=2) as receiver,
    ):
        store(receiver, series)
        assoc = receiver.associate(PUSH)
        request(assoc, references(series))
        assoc.release()

        wait_until(lambda: state(database) == "parked", 10, "it is parked")

    with database.begin() as transaction:
        (row,) = list_commitments(transaction)
    assert row.attempts == 2
    assert row.words == f"TEST@127.0.0.1:{peer.port} rejected the association"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"instance_uid": "1.2.3"}, 0x0112),
        ({"instances": []}, 0x0115),
        ({"instances": [(CT_IMAGE, "1..2")]}, 0x0115),
    ],
    ids=["action", "instance", "nothing", "no-uid"],
)
def test_a_request_that_makes_no_sense_is_refused(database, tmp_path, change, status):
    with node(database, tmp_path) as receiver:
        assoc = receiver.associate(PUSH)

        assert request(assoc, **({"instances": [(CT_IMAGE, "1.2.3")]} | change)) == status

        assoc.release()
    with database.begin() as transaction:
        assert list_commitments(transaction) == ()


def test_a_transaction_uid_stands_for_one_request(database, tmp_path, series):
    transaction_uid = generate_uid()
    with listening(Reports()) as peer, node(database, tmp_path, peers=(peer,)) as receiver:
        assoc = receiver.associate(PUSH)
        statuses = [
            request(assoc, references(series[:2]), transaction_uid),
            request(assoc, references(reversed(series[:2])), transaction_uid),
            request(assoc, references(series[2:]), transaction_uid),
        ]
        assoc.release()

    assert statuses == [0x0000, 0x0000, 0x0110]


def test_reports_go_over_tls(database, tmp_path, series):
    authority = Authority(tmp_path / "ca")
    theirs, ours = authority.issue("theirs"), authority.issue("ours")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.certificate)
    context.load_cert_chain(theirs.certificate, theirs.key)
    tls = TlsClientConfig(
        certificate=ours.certificate, key=ours.key, authorities=authority.certificate
    )
    reports = Reports()
    with listening(reports, ssl_context=context) as plain:
        peer = plain.model_copy(update={"tls": tls})
        with node(database, tmp_path, peers=(peer,)) as receiver:
            store(receiver, series)
            assoc = receiver.associate(PUSH)
            request(assoc, references(series))
            assoc.release()

            assert reports.wait()[0] == 1


def state(database):
    with database.begin() as transaction:
        (row,) = list_commitments(transaction)
        key = (row.pipeline, row.calling_ae_title, row.transaction_uid)
        found = get_commitment(transaction, *key)
    # It may go on between the two looks, but is the same one.
    assert (found.pipeline, found.calling_ae_title, found.transaction_uid) == key
    return found.state


def note(database, kind, uid):
    with database.begin() as transaction:
        add_note(
            transaction,
            "chest",
            kind=kind,
            sop_class_uid=CT_IMAGE,
            sop_instance_uid=uid,
            digest=None,
            calling_ae_title="TEST",
            at=datetime.now(UTC),
        )
