"""A job that has ended well, with real SEG and SR in its outbox, and what delivers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from dicomnode.config import Destination
from dicomnode.database import Database
from dicomnode.database.delivery_rows import get_delivery, list_attempts, open_delivery
from dicomnode.database.job_rows import DeliveryRow, create_job, set_job
from dicomnode.database.series_rows import record_instance
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision
from dicomnode.pipeline.delivery import Delivery
from dicomnode.results.nifti import encode_label_map
from dicomnode.results.part10 import encode_part10
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.spool.results import Outbox
from tests.support.ct import make_series
from tests.support.findings import make_findings

_DESTINATION: TypeAdapter[Destination] = TypeAdapter(Destination)


@dataclass(frozen=True)
class EndedJob:
    """One job with its results; `uids` by kind."""

    database: Database
    outbox: Outbox
    id: str
    series_instance_uid: str
    uids: dict[str, str]

    def delivery(self, *, return_to: dict[str, str] | None = None, **named: object) -> Delivery:
        """Return what delivers to destinations given as in the configuration."""
        destinations = {name: _DESTINATION.validate_python(each) for name, each in named.items()}
        return Delivery(
            self.database, self.outbox, destinations, {"plain": "NODE"}, return_to or {}
        )

    def deliver(self, delivery: Delivery, name: str, attempt: int = 1) -> str:
        with self.database.begin() as transaction:
            open_delivery(transaction, self.id, name)
        return delivery.attempt(self.id, name, attempt)

    def row(self, name: str) -> DeliveryRow:
        with self.database.begin() as transaction:
            row = get_delivery(transaction, self.id, name)
        assert row is not None
        return row

    def objects(self, name: str, attempt: int = 1) -> dict[str, dict[str, object]]:
        """Return what is on record of each object, by kind."""
        with self.database.begin() as transaction:
            (row,) = [
                each
                for each in list_attempts(transaction, self.id)
                if (each.destination, each.attempt) == (name, attempt)
            ]
        return {each["kind"]: each for each in row.objects}


def end_job(folder: Path, database: Database) -> EndedJob:
    """Make a series, its findings and its result objects, and put them on record."""
    made = make_findings(make_series(folder / "ct"))
    outbox = Outbox(folder / "data")
    series_uid = made.context.series_instance_uid
    revision = SeriesRevision(
        pipeline="plain", series_instance_uid=series_uid, revision=1, digest="0123456789abcdef"
    )
    job_id = revision.job_id("plain-00000000")
    segmentation = encode_segmentation(
        made.findings, volume_sources=made.sources, evidence=made.evidence, context=made.context
    )
    assert segmentation is not None
    report = encode_report(
        made.findings, evidence=made.evidence, segmentation=segmentation, context=made.context
    )
    contents = {
        "seg.dcm": encode_part10(segmentation),
        "sr.dcm": encode_part10(report),
        "findings.json": b"{}\n",
        "labels.nii.gz": encode_label_map(made.findings.label_map),
    }
    keys = {name: outbox.write(job_id, name, content) for name, content in contents.items()}
    ref = InstanceRef(
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=str(made.evidence[0].SOPInstanceUID),
        study_instance_uid=str(made.evidence[0].StudyInstanceUID),
        series_instance_uid=series_uid,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        digest="ab" * 32,
        size_bytes=1,
        key=f"instances/plain/{series_uid}/x.dcm",
    )
    with database.begin() as transaction:
        record_instance(transaction, "plain", ref, calling_ae_title="SENDER", at=datetime.now(UTC))
        create_job(transaction, job_id, revision)
        set_job(transaction, job_id, state="done", files=keys)
    return EndedJob(
        database,
        outbox,
        job_id,
        series_uid,
        {"seg": str(segmentation.SOPInstanceUID), "sr": str(report.SOPInstanceUID)},
    )
