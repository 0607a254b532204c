"""All that is on record of a series and of a job, gathered.  Changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from dicomnode.console.parts import Parts
from dicomnode.database import Transaction
from dicomnode.database.decision_rows import DecisionRow, list_decisions
from dicomnode.database.delivery_rows import (
    AttemptRow,
    CommitmentRow,
    list_attempts,
    list_commitments,
)
from dicomnode.database.job_rows import DeliveryRow, JobRow, get_job, list_deliveries, list_jobs
from dicomnode.database.note_rows import find_notes
from dicomnode.database.series_rows import SeriesRow, list_faults, list_instances, list_series
from dicomnode.errors import StateError
from dicomnode.model.instance import InstanceRef
from dicomnode.model.work import StepRecord
from dicomnode.pipeline.identifiers import analysis_workflow_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What the instances of a series are: how many, how large, of which classes and syntaxes."""

    instance_count: int
    size_bytes: int
    sop_classes: dict[str, int]
    transfer_syntaxes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one rule of selection said."""

    rule: str
    wanted: str
    found: str
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """What all rules said of a revision."""

    revision: int
    is_selected: bool
    sentence: str
    rules: list[Rule]
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultRecord:
    """An instance that counts as missing, and why."""

    sop_instance_uid: str
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A finished step of an attempt at an analysis."""

    attempt: int
    name: str
    began_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A delivery with every attempt at it."""

    destination: str
    state: str
    attempts: int
    words: str | None
    updated_at: datetime
    history: list[AttemptRow]
    commitments: list[CommitmentRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """A file of results; `size_bytes` is None where it was pruned."""

    name: str
    size_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord(JobRow):
    """A job and what came of it.

    `remarks` are the sentences of the geometry gate and the guards.
    """

    steps: list[Step]
    results: list[ResultFile]
    remarks: list[str]
    deliveries: list[DeliveryRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRecord(SeriesRow):
    """A series in one pipeline, and what became of it."""

    contents: Contents
    faults: list[FaultRecord]
    notes: dict[str, int]
    decisions: list[DecisionRecord]
    jobs: list[JobRecord]


def read_series(parts: Parts, series_instance_uid: str) -> list[SeriesRecord]:
    """Return what is on record of a series, for each pipeline that received it."""
    with parts.database.begin() as transaction:
        rows = list_series(transaction, series_instance_uid=series_instance_uid)
        decisions = list_decisions(transaction, series_instance_uid)
        jobs = list_jobs(transaction, series_instance_uid=series_instance_uid)
        found = [(row, *_received(transaction, row.pipeline, series_instance_uid)) for row in rows]
        deliveries = {job.id: _deliveries(transaction, job.id) for job in jobs}
    return [
        SeriesRecord(
            **asdict(row),
            contents=contents,
            faults=faults,
            notes=notes,
            decisions=[_decision(each) for each in decisions if each.pipeline == row.pipeline],
            jobs=[
                _job(parts, job, deliveries[job.id]) for job in jobs if job.pipeline == row.pipeline
            ],
        )
        for row, contents, faults, notes in found
    ]


def read_job(parts: Parts, job_id: str) -> JobRecord | None:
    """Return what is on record of a job, or None if it is unknown."""
    with parts.database.begin() as transaction:
        job = get_job(transaction, job_id)
        deliveries = _deliveries(transaction, job_id)
    return None if job is None else _job(parts, job, deliveries)


def _received(
    transaction: Transaction, pipeline: str, series_instance_uid: str
) -> tuple[Contents, list[FaultRecord], dict[str, int]]:
    refs = list_instances(transaction, pipeline, series_instance_uid)
    faults = list_faults(transaction, pipeline, series_instance_uid)
    noted = find_notes(transaction, pipeline, [each.sop_instance_uid for each in refs])
    notes = Counter(kind for kinds in noted.values() for kind in kinds)
    return (
        _contents(refs),
        [FaultRecord(sop_instance_uid=uid, fault=fault) for uid, fault in faults],
        dict(notes),
    )


def _contents(refs: Sequence[InstanceRef]) -> Contents:
    return Contents(
        instance_count=len(refs),
        size_bytes=sum(each.size_bytes for each in refs),
        sop_classes=dict(Counter(each.sop_class_uid for each in refs)),
        transfer_syntaxes=dict(Counter(each.transfer_syntax_uid for each in refs)),
    )


def _decision(row: DecisionRow) -> DecisionRecord:
    return DecisionRecord(
        revision=row.revision,
        is_selected=row.decision.is_selected,
        sentence=row.decision.sentence,
        rules=[Rule(**asdict(each)) for each in row.decision.outcomes],
        decided_at=row.decided_at,
    )


_Deliveries = tuple[tuple[DeliveryRow, ...], tuple[AttemptRow, ...], tuple[CommitmentRow, ...]]


def _deliveries(transaction: Transaction, job_id: str) -> _Deliveries:
    return (
        list_deliveries(transaction, job_id),
        list_attempts(transaction, job_id),
        list_commitments(transaction, job_id),
    )


def _job(parts: Parts, job: JobRow, found: _Deliveries) -> JobRecord:
    deliveries, attempts, commitments = found
    return JobRecord(
        **asdict(job),
        steps=[
            _step(number, step)
            for number in range(1, job.attempt + 1)
            for step in parts.jobs.steps(analysis_workflow_id(job.id, number))
        ],
        results=[
            ResultFile(name=name, size_bytes=_size(parts, key)) for name, key in job.files.items()
        ],
        remarks=_remarks(parts, job),
        deliveries=[
            DeliveryRecord(
                destination=each.destination,
                state=each.state,
                attempts=each.attempts,
                words=each.words,
                updated_at=each.updated_at,
                history=[row for row in attempts if row.destination == each.destination],
                commitments=[row for row in commitments if row.destination == each.destination],
            )
            for each in deliveries
        ],
    )


def _step(attempt: int, step: StepRecord) -> Step:
    return Step(attempt=attempt, name=step.name, began_at=step.began_at, ended_at=step.ended_at)


def _size(parts: Parts, key: str) -> int | None:
    try:
        return parts.outbox.path(key).stat().st_size
    except (OSError, StateError):
        return None


def _remarks(parts: Parts, job: JobRow) -> list[str]:
    """Return the sentences that the gate and the guards left with the findings."""
    key = next((key for key in job.files.values() if key.endswith("/findings.json")), None)
    if key is None:
        return []
    try:
        summary = json.loads(parts.outbox.path(key).read_text(encoding="utf-8"))
        guards = [str(each["sentence"]) for each in summary["guards"]]
        return [*(str(each) for each in summary["notes"]), *guards]
    except (OSError, ValueError, KeyError, TypeError, StateError):
        return []  # pruned, or written by another version
