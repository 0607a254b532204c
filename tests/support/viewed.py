"""Jobs that can be looked at: a made-up CT in the spool, SEG, SR and findings in the outbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dicomnode.console.parts import Parts
from dicomnode.database.job_rows import create_job, get_job, set_job
from dicomnode.database.series_rows import close_series, list_instances, record_instance
from dicomnode.results.part10 import encode_part10
from dicomnode.results.picture import encode_png
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.results.summary import summarize
from dicomnode.spool.part10 import read_stored
from tests.support.ct import make_series
from tests.support.findings import Made, make_findings

PIPELINE = "chest"


@dataclass(frozen=True)
class ViewedJob:
    """A job, the files it was made of as they were sent, and what was found."""

    id: str
    series_instance_uid: str
    sent: Sequence[Path]
    made: Made | None


def receive(parts: Parts, paths: Sequence[Path]) -> str:
    """Put instances into spool and database, as the receiver does; return their series."""
    series = ""
    for path in paths:
        meta, identity, data_set = read_stored(path)
        ref = parts.store.store(
            pipeline=PIPELINE,
            sop_class_uid=identity.sop_class_uid,
            sop_instance_uid=identity.sop_instance_uid,
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            calling_ae_title="CT1",
            data_set=bytes(data_set),
        )
        series = ref.series_instance_uid
        with parts.database.begin() as transaction:
            record_instance(
                transaction, PIPELINE, ref, calling_ae_title="CT1", at=datetime.now(UTC)
            )
    return series


def close(parts: Parts, series: str, **values: Any) -> str:
    """Close a series and record a job on it, as far as `values` say; return the job's id."""
    with parts.database.begin() as transaction:
        revision = close_series(transaction, PIPELINE, series, because="quiet")
        job_id = revision.job_id(parts.setups[PIPELINE].version)
        create_job(transaction, job_id, revision)
        set_job(transaction, job_id, **values)
    return job_id


def keep_results(parts: Parts, job_id: str, contents: Mapping[str, bytes]) -> None:
    """Write result files and record them."""
    keys = {name: parts.outbox.write(job_id, name, data) for name, data in contents.items()}
    with parts.database.begin() as transaction:
        set_job(transaction, job_id, files=keys)


def results_of(made: Made) -> dict[str, bytes]:
    """Encode SEG, SR, findings and a picture."""
    seg = encode_segmentation(
        made.findings,
        volume_sources=made.sources,
        evidence=made.evidence,
        context=made.context,
    )
    report = encode_report(
        made.findings, evidence=made.evidence, segmentation=seg, context=made.context
    )
    contents = {
        "sr.dcm": encode_part10(report),
        "findings.json": json.dumps(summarize(made.findings, context=made.context)).encode(),
        "overlay.png": encode_png(made.findings.label_map.labels[:1].repeat(3, 0).T.copy()),
    }
    return contents if seg is None else {"seg.dcm": encode_part10(seg), **contents}


def make_viewed_job(
    parts: Parts, folder: Path, *, make: Any = make_findings, **series: Any
) -> ViewedJob:
    """Receive a made-up CT and record a job that is done, with what `make` found."""
    paths = make_series(folder, **{"PatientName": "Marked^Patient", **series})
    uid = receive(parts, paths)
    made: Made = make(paths)
    job_id = close(parts, uid, state="done")
    keep_results(parts, job_id, results_of(made))
    return ViewedJob(job_id, uid, paths, made)


def stored(parts: Parts, job: ViewedJob) -> list[Path]:
    """Return the files of a job's instances in the spool."""
    with parts.database.begin() as transaction:
        refs = list_instances(transaction, PIPELINE, job.series_instance_uid)
    return [parts.store.path(each.key) for each in refs]


def job_row(parts: Parts, job_id: str) -> Any:
    """Return the row of a job."""
    with parts.database.begin() as transaction:
        return get_job(transaction, job_id)
