"""Storage commitment for results, asked of Orthanc, answered to our receiver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicomnode.config import AllowedCaller, ReceiveConfig
from dicomnode.database import open_database
from dicomnode.database.delivery_rows import get_delivery, list_commitments, open_delivery
from dicomnode.database.job_rows import already_sent
from dicomnode.engine import JobQueue
from dicomnode.model.commitment import CommitmentReport
from dicomnode.pipeline.commitment import Commitments, take_report
from dicomnode.receive.scp import StorageSCP
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from tests.support.pacs import FlakyPacs
from tests.support.results import EndedJob, end_job
from tests.support.web_archive import WebArchive, free_port
from tests.support.workers import wait_until


class NoSink:
    """Takes no instances."""

    def association_opened(self, *_: Any, **__: Any) -> None:
        """Hear of the association that brings the report."""

    def association_ended(self, *_: Any, **__: Any) -> None:
        """Hear of its end."""

    def instance_stored(self, *_: Any, **__: Any) -> None:
        raise AssertionError("nothing is stored here")


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


def test_a_report_that_nobody_asked_for_changes_nothing(job: EndedJob):
    jobs = JobQueue(job.database)
    report = CommitmentReport(transaction_uid="1.2.3", committed=frozenset(), failed={})
    assert not take_report(job.database, jobs, {}, report)
    jobs.close()
