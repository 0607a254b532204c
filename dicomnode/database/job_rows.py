"""Rows of jobs and how their deliveries stand: what happened, for operators and for repeats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import delivery, job
from dicomnode.database.upsert import insert_if_absent
from dicomnode.model.series import SeriesRevision

END_STATES = frozenset(("done", "refused", "not_selected", "superseded", "failed", "cancelled"))
"""States of a job that only an operator's word leaves."""

_RETRIED_STATES = ("failed", "cancelled", "not_selected")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as recorded.

    `interruptions` counts attempts that the inference server did not survive.
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
    interruptions: int = 0
    stage: str | None
    runner: str | None
    reason: str | None
    sentence: str | None
    seconds: dict[str, float]
    files: dict[str, str]
    models: list[dict[str, str]]
    created_at: datetime
    updated_at: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """The delivery of a job's results to one destination."""

    job_id: str
    destination: str
    state: str
    attempts: int
    attempts_before: int
    words: str | None
    updated_at: datetime


def create_job(
    transaction: Transaction,
    job_id: str,
    revision: SeriesRevision,
    *,
    traceparent: str | None = None,
) -> bool:
    """Record a job as queued; what it does goes on from `traceparent`, where the node traces.

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
        traceparent=traceparent,
    )


def set_job(
    transaction: Transaction, job_id: str, *, keep_time: bool = False, **values: Any
) -> None:
    """Change columns of a job, and its time of change unless that is to be kept."""
    if not keep_time:
        values["updated_at"] = datetime.now(UTC)
    transaction.execute(sa.update(job).where(job.c.id == job_id).values(**values))


def begin_stage(
    transaction: Transaction,
    job_id: str,
    stage: str,
    *,
    attempt: int | None = None,
    runner: str | None = None,
) -> bool:
    """Record that a stage runs now.

    Parameters
    ----------
    attempt : int, optional
        The job must be at this attempt.
    runner : str, optional
        Token of this run of the stage, for `end_stage`.

    Returns
    -------
    bool
        False if there is nothing to run: the job has ended, or is at a later attempt.
    """
    query = sa.update(job).where((job.c.id == job_id) & job.c.state.not_in(END_STATES))
    if attempt is not None:
        query = query.where(job.c.attempt == attempt)
    begun = transaction.execute(
        query.values(
            state="running",
            stage=stage,
            runner=runner,
            reason=None,
            sentence=None,
            updated_at=datetime.now(UTC),
        )
    )
    return begun.rowcount == 1


def end_stage(transaction: Transaction, job_id: str, *, runner: str, **values: Any) -> bool:
    """Change columns of a job on behalf of the run that began its stage.

    Returns
    -------
    bool
        False, and nothing is changed, if another run has taken the job over or an operator has
        given it up since.
    """
    ended = transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & (job.c.runner == runner))
        .values(updated_at=datetime.now(UTC), **values)
    )
    return ended.rowcount == 1


def plan_attempt(transaction: Transaction, job_id: str, *, after: int) -> bool:
    """Count up the attempt of a waiting job.

    Returns
    -------
    bool
        Whether attempt ``after + 1`` is to be enqueued: False if the job has ended or gone further.
    """
    transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & (job.c.state == "waiting") & (job.c.attempt == after))
        .values(attempt=after + 1, updated_at=datetime.now(UTC))
    )
    row = transaction.execute(sa.select(job.c.state, job.c.attempt).where(job.c.id == job_id)).one()
    return (str(row[0]), int(row[1])) == ("waiting", after + 1)


def finish_job(transaction: Transaction, job_id: str) -> bool:
    """Record a running job as done; what has ended otherwise stays as it is.

    A refusal may be superseded before it is handed over, and is owed all the same.

    Returns
    -------
    bool
        Whether its results are to be handed over: False if an operator has given it up.
    """
    transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & (job.c.state == "running"))
        .values(state="done", runner=None, updated_at=datetime.now(UTC))
    )
    state = transaction.execute(sa.select(job.c.state).where(job.c.id == job_id)).scalar_one()
    return state in {"done", "refused", "superseded"}


def cancel(transaction: Transaction, job_id: str) -> bool:
    """Record that an operator gave a job up.

    Returns
    -------
    bool
        False if it has ended: it stays so.
    """
    # Asked and written at once: a worker and an operator may come at the same time.
    changed = transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & job.c.state.not_in(END_STATES))
        .values(
            state="cancelled",
            runner=None,
            reason="operator",
            sentence="given up by an operator",
            updated_at=datetime.now(UTC),
        )
    )
    return changed.rowcount == 1


def reopen_job(transaction: Transaction, job_id: str) -> int | None:
    """Queue a job again that failed, was given up, or was not wanted.

    Returns
    -------
    int or None
        Number of its next attempt; None, and nothing is changed, if it is none of these.
    """
    # Asked and written at once: of two operators who come at the same time one is too late.
    changed = transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & job.c.state.in_(_RETRIED_STATES))
        .values(
            state="queued",
            attempt=job.c.attempt + 1,
            interruptions=0,
            runner=None,
            reason=None,
            sentence=None,
            updated_at=datetime.now(UTC),
        )
    )
    if changed.rowcount != 1:
        return None
    return int(transaction.execute(sa.select(job.c.attempt).where(job.c.id == job_id)).scalar_one())


def dismiss(transaction: Transaction, job_id: str) -> bool:
    """Record that nothing more is owed for a failed job; False if it is not failed."""
    changed = transaction.execute(
        sa.update(job)
        .where((job.c.id == job_id) & (job.c.state == "failed"))
        .values(state="cancelled", runner=None, updated_at=datetime.now(UTC))
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


def lock_job(transaction: Transaction, job_id: str) -> None:
    """Let nobody else who locks or changes the job go on before the end of the transaction."""
    # On SQLite, which has no lock of a row, it is a write that makes a transaction the only one.
    transaction.execute(sa.update(job).where(job.c.id == job_id).values(id=job_id))


def trace_of(transaction: Transaction, job_id: str) -> str | None:
    """Return the trace context of a job; None if it has none or is unknown."""
    found = transaction.execute(sa.select(job.c.traceparent).where(job.c.id == job_id))
    return found.scalar_one_or_none()


def list_jobs(
    transaction: Transaction,
    *,
    state: str | None = None,
    series_instance_uid: str | None = None,
    pipeline: str | None = None,
    since: datetime | None = None,
    delivery_state: str | None = None,
    limit: int = 1000,
) -> tuple[JobRow, ...]:
    """Return jobs, the latest first.

    Parameters
    ----------
    since : datetime, optional
        Created at that time or later.
    delivery_state : str, optional
        With at least one delivery in that state.
    """
    query = sa.select(job).order_by(job.c.created_at.desc()).limit(limit)
    if state is not None:
        query = query.where(job.c.state == state)
    if series_instance_uid is not None:
        query = query.where(job.c.series_instance_uid == series_instance_uid)
    if pipeline is not None:
        query = query.where(job.c.pipeline == pipeline)
    if since is not None:
        query = query.where(job.c.created_at >= since)
    if delivery_state is not None:
        having = sa.select(delivery.c.job_id).where(delivery.c.state == delivery_state)
        query = query.where(job.c.id.in_(having))
    return tuple(JobRow(**row) for row in transaction.execute(query).mappings())


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


def list_unended(transaction: Transaction) -> tuple[tuple[str, int], ...]:
    """Return id and attempt of every job that has not ended, in no order."""
    rows = transaction.execute(
        sa.select(job.c.id, job.c.attempt).where(job.c.state.not_in(END_STATES))
    )
    return tuple((str(row[0]), int(row[1])) for row in rows)


def list_deliveries(transaction: Transaction, job_id: str) -> tuple[DeliveryRow, ...]:
    """Return the deliveries of a job, by destination."""
    rows = transaction.execute(
        sa.select(delivery).where(delivery.c.job_id == job_id).order_by(delivery.c.destination)
    ).mappings()
    return tuple(DeliveryRow(**row) for row in rows)
