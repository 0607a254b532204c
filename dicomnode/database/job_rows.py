"""Rows of jobs, deliveries and the send ledger: what happened, for operators and for repeats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import delivery, job, sent
from dicomnode.database.upsert import insert_if_absent
from dicomnode.model.series import SeriesRevision

END_STATES = frozenset(("done", "refused", "not_selected", "superseded", "failed", "cancelled"))
"""States of a job that only an operator's word leaves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as recorded.

    `seconds` maps each stage to the time it took, `files` each result file to its outbox key;
    `models` says of each that was asked its name, version, manifest digest, server and time.
    """

    id: str
    pipeline: str
    series_instance_uid: str
    revision: int
    digest: str
    state: str
    attempt: int
    stage: str | None
    reason: str | None
    sentence: str | None
    seconds: dict[str, float]
    files: dict[str, str]
    models: list[dict[str, str]]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """The delivery of a job's results to one destination."""

    job_id: str
    destination: str
    state: str
    attempts: int
    words: str | None
    updated_at: datetime


def create_job(transaction: Transaction, job_id: str, revision: SeriesRevision) -> bool:
    """Record a job as queued.

    Returns
    -------
    bool
        False if it is recorded already: the same content was analyzed the same way before.
    """
    now = datetime.now(UTC)
    return insert_if_absent(
        transaction,
        job,
        id=job_id,
        pipeline=revision.pipeline,
        series_instance_uid=revision.series_instance_uid,
        revision=revision.revision,
        digest=revision.digest,
        state="queued",
        attempt=1,
        seconds={},
        files={},
        models=[],
        created_at=now,
        updated_at=now,
    )


def set_job(transaction: Transaction, job_id: str, **values: Any) -> None:
    """Change columns of a job."""
    transaction.execute(
        sa.update(job).where(job.c.id == job_id).values(updated_at=datetime.now(UTC), **values)
    )


def begin_stage(transaction: Transaction, job_id: str, stage: str) -> bool:
    """Record that a stage runs now.

    Returns
    -------
    bool
        False if an operator has cancelled the job.
    """
    begun = transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & (job.c.state != "cancelled"))
        .values(
            state="running", stage=stage, reason=None, sentence=None, updated_at=datetime.now(UTC)
        )
    )
    return begun.rowcount == 1


def end_job(
    transaction: Transaction,
    job_id: str,
    state: str,
    *,
    reason: str | None,
    sentence: str | None,
) -> bool:
    """Record how a job ended, or that it waits.

    Returns
    -------
    bool
        False if an operator has cancelled it: it stays so.
    """
    return _change_state(
        transaction, job_id, state, reason, sentence, unless=frozenset(("cancelled",))
    )


def cancel(transaction: Transaction, job_id: str) -> bool:
    """Record that an operator gave a job up.

    Returns
    -------
    bool
        False if it has ended: it stays so.
    """
    return _change_state(
        transaction, job_id, "cancelled", "operator", "given up by an operator", unless=END_STATES
    )


def _change_state(
    transaction: Transaction,
    job_id: str,
    state: str,
    reason: str | None,
    sentence: str | None,
    *,
    unless: frozenset[str],
) -> bool:
    # Asked and written at once: a worker and an operator may come at the same time.
    changed = transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & job.c.state.not_in(unless))
        .values(
            state=state,
            reason=reason,
            sentence=None if sentence is None else sentence[:500],
            updated_at=datetime.now(UTC),
        )
    )
    return changed.rowcount == 1


def add_seconds(transaction: Transaction, job_id: str, seconds: Mapping[str, float]) -> None:
    """Add the time of stages to a job's record."""
    # A write first: it locks out others, who would overwrite what is read next, or be overwritten.
    set_job(transaction, job_id)
    known = transaction.execute(sa.select(job.c.seconds).where(job.c.id == job_id)).scalar_one()
    set_job(transaction, job_id, seconds={**known, **seconds})


def get_job(transaction: Transaction, job_id: str) -> JobRow | None:
    """Return one job, or None if it is unknown."""
    row = transaction.execute(sa.select(job).where(job.c.id == job_id)).mappings().one_or_none()
    return None if row is None else JobRow(**row)


def list_jobs(
    transaction: Transaction,
    *,
    state: str | None = None,
    series_instance_uid: str | None = None,
    limit: int = 1000,
) -> tuple[JobRow, ...]:
    """Return jobs, the latest first."""
    query = sa.select(job).order_by(job.c.created_at.desc()).limit(limit)
    if state is not None:
        query = query.where(job.c.state == state)
    if series_instance_uid is not None:
        query = query.where(job.c.series_instance_uid == series_instance_uid)
    return tuple(JobRow(**row) for row in transaction.execute(query).mappings())


def create_delivery(transaction: Transaction, job_id: str, destination: str) -> bool:
    """Record a delivery as pending.

    Returns
    -------
    bool
        False if it is recorded already: it stays as it stands.
    """
    return insert_if_absent(
        transaction,
        delivery,
        job_id=job_id,
        destination=destination,
        state="pending",
        attempts=0,
        words=None,
        updated_at=datetime.now(UTC),
    )


def _is_former(row: JobRow) -> sa.ColumnElement[bool]:
    """Match the earlier jobs on the same series, of its revision or an earlier one."""
    return sa.and_(
        job.c.pipeline == row.pipeline,
        job.c.series_instance_uid == row.series_instance_uid,
        job.c.id != row.id,
        job.c.revision <= row.revision,
        job.c.created_at < row.created_at,
    )


def find_predecessor(transaction: Transaction, row: JobRow) -> JobRow | None:
    """Return the latest job on an earlier revision of the same series that has results."""
    found = transaction.execute(
        sa.select(job)
        .where(_is_former(row))
        .order_by(job.c.revision.desc(), job.c.created_at.desc())
    ).mappings()
    return next((JobRow(**each) for each in found if each["files"]), None)


def supersede_former(transaction: Transaction, row: JobRow) -> int:
    """Mark the results of earlier jobs on the same series as superseded; return how many."""
    marked = transaction.execute(
        sa.update(job)
        .where(_is_former(row) & job.c.state.in_(("done", "refused")))
        .values(
            state="superseded",
            reason="later_revision",
            sentence=f"Revision {row.revision} of the series has results of its own.",
            updated_at=datetime.now(UTC),
        )
    )
    return marked.rowcount


def set_delivery(
    transaction: Transaction,
    job_id: str,
    destination: str,
    *,
    state: str,
    attempts: int,
    words: str | None,
) -> None:
    """Record how a delivery stands."""
    values = {
        "state": state,
        "attempts": attempts,
        "words": None if words is None else words[:500],
        "updated_at": datetime.now(UTC),
    }
    insert_if_absent(transaction, delivery, job_id=job_id, destination=destination, **values)
    transaction.execute(
        sa.update(delivery)
        .where((delivery.c.job_id == job_id) & (delivery.c.destination == destination))
        .values(**values)
    )


def list_deliveries(transaction: Transaction, job_id: str) -> tuple[DeliveryRow, ...]:
    """Return the deliveries of a job, by destination."""
    rows = transaction.execute(
        sa.select(delivery).where(delivery.c.job_id == job_id).order_by(delivery.c.destination)
    ).mappings()
    return tuple(DeliveryRow(**row) for row in rows)


def already_sent(
    transaction: Transaction, destination: str, sop_instance_uids: Iterable[str]
) -> frozenset[str]:
    """Return which of the instances the destination has taken before."""
    rows = transaction.execute(
        sa.select(sent.c.sop_instance_uid).where(
            (sent.c.destination == destination)
            & sent.c.sop_instance_uid.in_(list(sop_instance_uids))
        )
    )
    return frozenset(row[0] for row in rows)


def record_sent(
    transaction: Transaction, destination: str, sop_instance_uid: str, *, status: int
) -> None:
    """Write into the ledger that a destination took an instance."""
    insert_if_absent(
        transaction,
        sent,
        destination=destination,
        sop_instance_uid=sop_instance_uid,
        status=status,
        sent_at=datetime.now(UTC),
    )


def count_jobs(transaction: Transaction) -> dict[str, int]:
    """Return the number of jobs by state."""
    rows = transaction.execute(sa.select(job.c.state, sa.func.count()).group_by(job.c.state))
    return {str(state): int(count) for state, count in rows}
