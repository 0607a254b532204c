"""Storage commitment for results, asked of Orthanc, answered to our receiver."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.dimse_messages import N_ACTION_RSP
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicomnode.config import AllowedCaller, ReceiveConfig
from dicomnode.database import open_database
from dicomnode.database.delivery_rows import (
    already_sent,
    get_delivery,
    list_commitments,
    open_delivery,
)
from dicomnode.engine import JobQueue
from dicomnode.model.commitment import CommitmentReport
from dicomnode.pipeline import commitment as asking
from dicomnode.pipeline.commitment import Commitments
from dicomnode.pipeline.commitment_answers import take_report
from dicomnode.pipeline.delivery import Delivery
from dicomnode.receive.scp import StorageSCP
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.standard.ae import AEAddress
from tests.support.pacs import FlakyPacs
from tests.support.results import EndedJob, end_job
from tests.support.web_archive import WebArchive, free_port
from tests.support.workers import Crew, ReceiverSpec, is_up, run_receiver, wait_until

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


class NoSink:
    """Takes no instances."""

    def association_opened(self, *_: Any, **__: Any) -> None:
        """Hear of the association that brings the report."""

    def association_ended(self, *_: Any, **__: Any) -> None:
        """Hear of its end."""

    def instance_stored(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing is stored here")


@pytest.fixture(autouse=True)
def _lingers_briefly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most peers here do not report over the same association; theirs is not waited for long."""
    monkeypatch.setattr(asking, "_LINGER_SECONDS", 0.5)


@pytest.fixture
def job(tmp_path: Path) -> Any:
    database = open_database("sqlite", data_dir=tmp_path / "data")
    yield end_job(tmp_path, database)
    database.close()


def state_of(job: EndedJob, name: str) -> str:
    with job.database.begin() as transaction:
        row = get_delivery(transaction, job.id, name)
    assert row is not None
    return row.state


def test_orthanc_commits_itself_and_what_it_lost_is_sent_again(job: EndedJob, tmp_path: Path):
    port = free_port()
    peers = {"node": ("NODE", "127.0.0.1", port)}
    with WebArchive(tmp_path / "orthanc", modalities=peers) as archive:
        config = {
            "kind": "dimse",
            "ae_title": archive.ae_title,
            "host": "127.0.0.1",
            "port": archive.dicom_port,
            "storage_commitment": True,
        }
        delivery = job.delivery(pacs=config)
        destinations = delivery._destinations
        jobs = JobQueue(job.database)
        reports: list[CommitmentReport] = []

        def take(report: CommitmentReport) -> None:
            take_report(job.database, jobs, destinations, report)
            reports.append(report)

        receiver = StorageSCP(
            ReceiveConfig(
                port=port,
                allowed_callers=(AllowedCaller(ae_title="ORTHANC", hosts=("127.0.0.1",)),),
            ),
            pipelines={"NODE": "plain"},
            store=InstanceStore(tmp_path / "data", reserve_bytes=0),
            quarantine=Quarantine(tmp_path / "data"),
            sink=NoSink(),
            on_commitment=take,
        )
        receiver.start()
        try:
            commitments = Commitments(job.database, jobs, delivery, destinations)
            assert job.deliver(delivery, "pacs") == "commit"
            assert state_of(job, "pacs") == "committing"
            commitments.ask(job.id, "pacs", 1)
            wait_until(lambda: reports, 20, "Orthanc reported")
            assert reports[0].committed == set(job.uids.values())
            assert state_of(job, "pacs") == "committed"

            archive.delete(job.uids["seg"])
            with job.database.begin() as transaction:
                open_delivery(transaction, job.id, "pacs")
            commitments.ask(job.id, "pacs", 2)
            wait_until(lambda: len(reports) == 2, 20, "Orthanc reported again")
            assert set(reports[1].failed) == {job.uids["seg"]}
            with job.database.begin() as transaction:
                states = [each.state for each in list_commitments(transaction, job.id)]
                taken = already_sent(transaction, "pacs", job.uids.values())
            assert states == ["committed", "failed"]
            assert taken == {job.uids["sr"]}
        finally:
            receiver.stop(5)
            jobs.close()


def test_an_archive_that_offers_no_commitment_is_a_parked_delivery(job: EndedJob):
    with FlakyPacs() as pacs:
        config = {
            "kind": "dimse",
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "port": pacs.port,
            "storage_commitment": True,
            "max_attempts": 2,
        }
        delivery = job.delivery(pacs=config)
        jobs = JobQueue(job.database)
        commitments = Commitments(job.database, jobs, delivery, delivery._destinations)
        assert job.deliver(delivery, "pacs") == "commit"

        # This archive offers no storage commitment at all: said at once, and for good.
        assert commitments.ask(job.id, "pacs", 1) == "failed"

        assert state_of(job, "pacs") == "parked"
        assert "no presentation context" in str(job.row("pacs").words)
        jobs.close()


class SilentPacs:
    """Takes requests for commitment and never reports, or at once, over the same association."""

    def __init__(self, *, reports_at_once: bool = False) -> None:
        self.asked: list[str] = []
        self.answers: list[int] = []
        self._reports_at_once = reports_at_once
        self._ae = AE(ae_title="PACS")
        self._ae.add_supported_context(StorageCommitmentPushModel)
        for each in AllStoragePresentationContexts:
            self._ae.add_supported_context(str(each.abstract_syntax))
        self._server = self._ae.start_server(
            ("127.0.0.1", 0),
            block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, lambda _event: 0x0000),
                (evt.EVT_N_ACTION, self._take),
                (evt.EVT_DIMSE_SENT, self._sent),
            ],
        )
        assert self._server is not None

    def _take(self, event: evt.Event) -> tuple[int, None]:
        request = event.action_information
        self.asked.append(str(request.TransactionUID))
        self._request = request
        return 0x0000, None

    def _sent(self, event: evt.Event) -> None:
        if self._reports_at_once and isinstance(event.message, N_ACTION_RSP):
            threading.Thread(target=self._report, args=(event.assoc, self._request)).start()

    def _report(self, assoc: Any, request: Dataset) -> None:
        status, _reply = assoc.send_n_event_report(
            request, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
        )
        self.answers.append(status.Status)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ae.shutdown()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.server_address[1])

    @property
    def destination(self) -> dict[str, object]:
        return {
            "kind": "dimse",
            "ae_title": "PACS",
            "host": "127.0.0.1",
            "port": self.port,
            "storage_commitment": True,
            "commitment_seconds": 60,
            "max_attempts": 2,
        }


@pytest.fixture
def silent(job: EndedJob) -> Iterator[tuple[SilentPacs, Commitments, Delivery, JobQueue]]:
    jobs = JobQueue(job.database)
    with SilentPacs() as pacs:
        delivery = job.delivery(pacs=pacs.destination)
        yield (
            pacs,
            Commitments(job.database, jobs, delivery, delivery._destinations),
            delivery,
            jobs,
        )
    jobs.close()


def test_a_report_over_the_same_association_is_taken_and_answered(job: EndedJob):
    jobs = JobQueue(job.database)
    with SilentPacs(reports_at_once=True) as pacs:
        delivery = job.delivery(pacs=pacs.destination)
        commitments = Commitments(job.database, jobs, delivery, delivery._destinations)
        job.deliver(delivery, "pacs")

        assert commitments.ask(job.id, "pacs", 1) == "committed"

        wait_until(lambda: pacs.answers, 10, "the report was answered")
        assert pacs.answers == [0x0000]
        assert state_of(job, "pacs") == "committed"
    jobs.close()


def test_a_destination_that_was_taken_out_before_it_was_asked_is_a_parked_delivery(job: EndedJob):
    """As where a node is stopped between the two, and started with another configuration."""
    jobs = JobQueue(job.database)
    with SilentPacs() as pacs:
        assert job.deliver(job.delivery(pacs=pacs.destination), "pacs") == "commit"
    later = Commitments(job.database, jobs, job.delivery(), {})

    assert later.ask(job.id, "pacs", 1) == "parked"

    row = job.row("pacs")
    assert (row.state, row.attempts) == ("parked", 1)
    assert row.words == "storage commitment: no destination 'pacs' is configured for this job"
    jobs.close()


def test_without_an_answer_it_is_asked_again_and_then_parked(
    job: EndedJob, silent: tuple[SilentPacs, Commitments, Delivery, JobQueue]
):
    pacs, commitments, delivery, _jobs = silent
    for attempt, becomes in ((1, "pending"), (2, "parked")):
        assert job.deliver(delivery, "pacs", attempt) == "commit"
        assert commitments.ask(job.id, "pacs", attempt) == "asked"
        assert state_of(job, "pacs") == "committing"

        # The look that was enqueued, durably delayed, with the request.
        assert commitments.check(pacs.asked[-1]) == "expired"
        assert state_of(job, "pacs") == becomes

    assert len(set(pacs.asked)) == 2
    assert "no answer in time" in str(job.row("pacs").words)
    # What had been taken stays so: it was not refused, and is not sent again.
    with job.database.begin() as transaction:
        assert already_sent(transaction, "pacs", job.uids.values()) == set(job.uids.values())


def test_an_answer_after_the_time_changes_nothing_and_none_is_asked_for_after_an_answer(
    job: EndedJob, silent: tuple[SilentPacs, Commitments, Delivery, JobQueue]
):
    pacs, commitments, delivery, jobs = silent
    job.deliver(delivery, "pacs")
    commitments.ask(job.id, "pacs", 1)
    report = CommitmentReport(
        transaction_uid=pacs.asked[0], committed=frozenset(job.uids.values()), failed={}
    )
    # Any process takes it: the request is looked up by its transaction UID.
    other = open_database("sqlite", data_dir=Path(str(job.database.lease_folder)).parent)
    try:
        assert take_report(other, jobs, delivery._destinations, report)
    finally:
        other.close()

    assert commitments.check(pacs.asked[0]) == "committed"
    assert state_of(job, "pacs") == "committed"
    assert not take_report(job.database, jobs, delivery._destinations, report)


def test_a_report_reaches_another_replica_than_the_one_that_asked(
    job: EndedJob,
    silent: tuple[SilentPacs, Commitments, Delivery, JobQueue],
    tmp_path: Path,
):
    """The peer reports over an association of its own, to whichever receiver it is led to."""
    pacs, commitments, delivery, _jobs = silent
    job.deliver(delivery, "pacs")
    commitments.ask(job.id, "pacs", 1)
    config = tmp_path / "dicomnode.toml"
    config.write_text(f"""
data_dir = "{tmp_path / "data"}"
[receive]
reserve_bytes = 0
[[receive.allowed_callers]]
ae_title = "PACS"
hosts = ["127.0.0.1"]
[pipelines.plain]
ae_title = "NODE"
destinations = ["pacs"]
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
storage_commitment = true
""")
    port = free_port()
    with Crew() as crew:
        receiver = ReceiverSpec(config=config, folder=tmp_path, port=port)
        crew.add("replica", run_receiver, receiver)
        to = AEAddress("NODE", "127.0.0.1", port)
        wait_until(lambda: is_up(to, calling_ae_title="PACS"), 30, "the replica was up")

        report_commitment(to, pacs.asked[0], committed=job.uids.values())

        wait_until(lambda: state_of(job, "pacs") == "committed", 10, "the report was taken")


def report_commitment(to: AEAddress, transaction_uid: str, *, committed: Iterable[str]) -> None:
    """Send N-EVENT-REPORT as an archive does: as SCP of a role selection (PS3.4 J.3.3)."""
    report = Dataset()
    report.TransactionUID = transaction_uid
    report.ReferencedSOPSequence = []
    for uid in committed:
        item = Dataset()
        item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
        item.ReferencedSOPInstanceUID = uid
        report.ReferencedSOPSequence.append(item)
    ae = AE(ae_title="PACS")
    ae.add_requested_context(StorageCommitmentPushModel)
    role = build_role(StorageCommitmentPushModel, scp_role=True)
    assoc = ae.associate(to.host, to.port, ae_title=to.ae_title, ext_neg=[role])
    assert assoc.is_established
    status, _reply = assoc.send_n_event_report(
        report, 1, StorageCommitmentPushModel, "1.2.840.10008.1.20.1.1"
    )
    assoc.release()
    assert status.Status == 0x0000


def test_a_report_that_nobody_asked_for_changes_nothing(job: EndedJob):
    jobs = JobQueue(job.database)
    report = CommitmentReport(transaction_uid="1.2.3", committed=frozenset(), failed={})
    assert not take_report(job.database, jobs, {}, report)
    jobs.close()
