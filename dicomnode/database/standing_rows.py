"""How things stand: counts and ages of what is under way, sizes.  Reads; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import UtcDateTime, delivery, instance, job, series

UNSETTLED_JOBS = ("queued", "running", "waiting", "failed")
"""States of a job that somebody or something will change yet."""

UNSETTLED_DELIVERIES = ("pending", "committing", "parked")
"""The same of a delivery."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How many there are, and when the oldest of them began."""

    count: int
    oldest: datetime


def count_series(transaction: Transaction) -> dict[tuple[str, str], int]:
    """Return how many series are open or held, by pipeline and state."""
    rows = transaction.execute(
        sa.select(series.c.pipeline, series.c.state, sa.func.count())
        .where(series.c.state.in_(("open", "held")))
        .group_by(series.c.pipeline, series.c.state)
    )
    return {(str(pipeline), str(state)): int(count) for pipeline, state, count in rows}


def latest_instances(transaction: Transaction) -> dict[str, datetime]:
    """Return when the latest instance of each pipeline came."""
    latest = sa.func.max(series.c.last_received_at, type_=UtcDateTime)
    rows = transaction.execute(sa.select(series.c.pipeline, latest).group_by(series.c.pipeline))
    return {str(pipeline): at for pipeline, at in rows}


def stand_of_jobs(transaction: Transaction) -> dict[tuple[str, str], Standing]:
    """Return the jobs that are not settled, by pipeline and state, by when they were made."""
    rows = transaction.execute(
        sa.select(
            job.c.pipeline,
            job.c.state,
            sa.func.count(),
            sa.func.min(job.c.created_at, type_=UtcDateTime),
        )
        .where(job.c.state.in_(UNSETTLED_JOBS))
        .group_by(job.c.pipeline, job.c.state)
    )
    return {(str(name), str(state)): Standing(int(n), at) for name, state, n, at in rows}


def stand_of_deliveries(transaction: Transaction) -> dict[tuple[str, str], Standing]:
    """Return the deliveries that are not settled, by destination and state, by their jobs' age."""
    rows = transaction.execute(
        sa.select(
            delivery.c.destination,
            delivery.c.state,
            sa.func.count(),
            sa.func.min(job.c.created_at, type_=UtcDateTime),
        )
        .join(job, job.c.id == delivery.c.job_id)
        .where(delivery.c.state.in_(UNSETTLED_DELIVERIES))
        .group_by(delivery.c.destination, delivery.c.state)
    )
    return {(str(name), str(state)): Standing(int(n), at) for name, state, n, at in rows}


def measure_instances(transaction: Transaction) -> dict[str, tuple[int, int]]:
    """Return how many instances each pipeline has, and the bytes of their data sets."""
    rows = transaction.execute(
        sa.select(
            instance.c.pipeline,
            sa.func.count(),
            sa.func.coalesce(sa.func.sum(instance.c.size_bytes), 0),
        ).group_by(instance.c.pipeline)
    )
    return {str(pipeline): (int(count), int(size)) for pipeline, count, size in rows}


def stored_bytes(transaction: Transaction, pipeline: str) -> int:
    """Return how much the data sets of a pipeline's instances take."""
    total = sa.select(sa.func.coalesce(sa.func.sum(instance.c.size_bytes), 0)).where(
        instance.c.pipeline == pipeline
    )
    return int(transaction.execute(total).scalar_one())
