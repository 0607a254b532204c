"""Rows that may go: what is settled, and since when.  Files and the order are not here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.job_rows import lock_job
from dicomnode.database.tables import (
    attempt,
    commitment_request,
    decision,
    delivery,
    instance,
    job,
    sent,
    series,
    touch,
)

_OVER = ("delivered", "committed", "dismissed")
"""States of a delivery after which nothing is owed to its destination."""

_HANDED_OVER = ("done", "refused", "superseded")
"""States of a job whose results, where it has any, are owed to its destinations."""

_WITHOUT_RESULTS = ("not_selected", "cancelled")
"""States of a job that owes nobody anything."""


def list_prunable_series(
    transaction: Transaction, pipeline: str, *, before: datetime, limit: int
) -> tuple[str, ...]:
    """Return series whose received instances nobody needs any more, the oldest first.

    That is: closed, every job settled (see `is_settled`), and nothing changed since `before`.
    """
    of_series = (job.c.pipeline == series.c.pipeline) & (
        job.c.series_instance_uid == series.c.series_instance_uid
    )
    holding = sa.select(job.c.id).where(
        of_series & ((job.c.updated_at >= before) | sa.not_(_is_settled(before)))
    )
    stored = sa.select(instance.c.key).where(
        (instance.c.pipeline == series.c.pipeline)
        & (instance.c.series_instance_uid == series.c.series_instance_uid)
    )
    rows = transaction.execute(
        sa.select(series.c.series_instance_uid)
        .where(
            (series.c.pipeline == pipeline)
            & (series.c.state == "closed")
            & (series.c.last_received_at < before)
            & sa.exists(stored)
            & ~sa.exists(holding)
        )
        .order_by(series.c.last_received_at)
        .limit(limit)
    )
    return tuple(str(row[0]) for row in rows)


def take_instances(
    transaction: Transaction, pipeline: str, series_instance_uid: str, *, before: datetime
) -> tuple[str, ...]:
    """Remove the rows of a series' instances, unless one has come since; return their keys.

    The series stays locked until the end of the transaction: an instance that comes meanwhile
    waits with its row.
    """
    # What an open association brings may have its file and not yet its row.
    coming = sa.select(touch.c.association_id).where(
        (touch.c.pipeline == pipeline) & (touch.c.series_instance_uid == series_instance_uid)
    )
    locked = transaction.execute(
        sa.update(series)
        .where(
            (series.c.pipeline == pipeline)
            & (series.c.series_instance_uid == series_instance_uid)
            & (series.c.state == "closed")
            & (series.c.last_received_at < before)
            & ~sa.exists(coming)
        )
        .values(state="closed")
    )
    if locked.rowcount != 1:
        return ()
    found = (instance.c.pipeline == pipeline) & (
        instance.c.series_instance_uid == series_instance_uid
    )
    keys = tuple(transaction.execute(sa.select(instance.c.key).where(found)).scalars())
    transaction.execute(sa.delete(instance).where(found))
    return keys


def list_prunable_jobs(
    transaction: Transaction, pipeline: str, *, before: datetime, with_files: bool, limit: int
) -> tuple[str, ...]:
    """Return settled jobs that did not change since `before`, the oldest first.

    Parameters
    ----------
    with_files : bool
        Only those that have result files; else only those that have none any more.
    """
    query = (
        sa.select(job.c.id, job.c.files)
        .where((job.c.pipeline == pipeline) & (job.c.updated_at < before) & _is_settled(before))
        .order_by(job.c.updated_at)
    )
    found = (str(row[0]) for row in transaction.execute(query) if bool(row[1]) == with_files)
    return tuple(found)[:limit]


def hold_settled(transaction: Transaction, job_id: str, *, before: datetime) -> bool:
    """Say whether a job is settled still; an operator who sends it anew waits for this transaction.

    It may have been listed a while ago.
    """
    lock_job(transaction, job_id)
    # Another statement: one that waited for the lock would not see what came meanwhile.
    found = transaction.execute(
        sa.select(job.c.id).where(
            (job.c.id == job_id) & (job.c.updated_at < before) & _is_settled(before)
        )
    )
    return found.first() is not None


def commitments_of(transaction: Transaction, job_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the transaction UIDs of the jobs' requests for commitment."""
    asked = transaction.execute(
        sa.select(commitment_request.c.transaction_uid).where(
            commitment_request.c.job_id.in_(job_ids)
        )
    )
    return tuple(str(row[0]) for row in asked)


def remove_job(transaction: Transaction, job_id: str) -> None:
    """Remove all rows of a job, its series' too if it was the last."""
    of_series = transaction.execute(
        sa.select(job.c.pipeline, job.c.series_instance_uid).where(job.c.id == job_id)
    ).one()
    objects = transaction.execute(
        sa.select(attempt.c.destination, attempt.c.objects).where(attempt.c.job_id == job_id)
    ).all()
    for destination, each in objects:
        uids = [entry["sop_instance_uid"] for entry in each]
        transaction.execute(
            sa.delete(sent).where(
                (sent.c.destination == destination) & sent.c.sop_instance_uid.in_(uids)
            )
        )
    for table in (attempt, commitment_request, delivery):
        transaction.execute(sa.delete(table).where(table.c.job_id == job_id))
    transaction.execute(sa.delete(job).where(job.c.id == job_id))
    _remove_series_if_empty(transaction, str(of_series[0]), str(of_series[1]))


def known_jobs(transaction: Transaction, job_ids: Sequence[str]) -> dict[str, str]:
    """Return the states of those of the jobs that are on record."""
    rows = transaction.execute(sa.select(job.c.id, job.c.state).where(job.c.id.in_(job_ids)))
    return {str(row[0]): str(row[1]) for row in rows}


def _is_settled(before: datetime) -> sa.ColumnElement[bool]:
    """Whether a job owes nobody anything since `before`."""
    owed = sa.select(delivery.c.job_id).where(
        (delivery.c.job_id == job.c.id)
        & (delivery.c.state.not_in(_OVER) | (delivery.c.updated_at >= before))
    )
    return sa.or_(
        job.c.state.in_(_WITHOUT_RESULTS),
        sa.and_(job.c.state.in_(_HANDED_OVER), ~sa.exists(owed)),
    )


def _remove_series_if_empty(
    transaction: Transaction, pipeline: str, series_instance_uid: str
) -> None:
    def of(table: sa.Table) -> sa.ColumnElement[bool]:
        return sa.and_(
            table.c.pipeline == pipeline, table.c.series_instance_uid == series_instance_uid
        )

    removed = transaction.execute(
        sa.delete(series).where(
            of(series)
            & (series.c.state == "closed")
            & ~sa.exists(sa.select(job.c.id).where(of(job)))
            & ~sa.exists(sa.select(instance.c.key).where(of(instance)))
        )
    )
    if removed.rowcount:
        transaction.execute(sa.delete(decision).where(of(decision)))
