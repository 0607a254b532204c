"""Putting work into the queues: which, under which id, when.  What runs then is `workflows`'."""

from __future__ import annotations

import zlib
from typing import Final

from dicomnode import tracing
from dicomnode.config import Destination
from dicomnode.database import Transaction
from dicomnode.database.delivery_rows import reserve_pace
from dicomnode.database.job_rows import create_job
from dicomnode.engine import JobQueue
from dicomnode.model.series import SeriesRevision
from dicomnode.model.work import Queue
from dicomnode.pipeline.identifiers import (
    analysis_workflow_id,
    commitment_workflow_id,
    delivery_workflow_id,
)

ANALYZE_QUEUE: Final = "analyze"
DELIVER_QUEUE: Final = "deliver"

QUEUES: Final = (ANALYZE_QUEUE, DELIVER_QUEUE)
"""Names, for workers that are to take some only."""


def queues(*, analyses: int, names: tuple[str, ...] = QUEUES) -> tuple[Queue, ...]:
    """Return the queues a worker listens to.

    Parameters
    ----------
    analyses : int
        At the same time in one worker.
    names : tuple of str
        Of `QUEUES`.
    """
    known = {
        ANALYZE_QUEUE: Queue(name=ANALYZE_QUEUE, concurrency=analyses),
        DELIVER_QUEUE: Queue(name=DELIVER_QUEUE, concurrency=1, is_partitioned=True),
    }
    return tuple(known[name] for name in names)


def submit(
    jobs: JobQueue, transaction: Transaction, revision: SeriesRevision, version: str
) -> str | None:
    """Record a job for a closed series and enqueue its analysis, in the caller's transaction.

    Returns
    -------
    str or None
        The job's id; None if the same content was analyzed by the same pipeline before.
    """
    job_id = revision.job_id(version)
    with tracing.span("close series", parent=revision.traceparent, job=job_id) as span:
        if not create_job(transaction, job_id, revision, traceparent=span.traceparent):
            return None
        enqueue_analysis(jobs, transaction, job_id, 1)
    return job_id


def enqueue_analysis(
    jobs: JobQueue,
    transaction: Transaction,
    job_id: str,
    attempt: int,
    *,
    delay_seconds: float = 0.0,
) -> None:
    """Enqueue a further attempt at an analysis, in the caller's transaction."""
    jobs.enqueue_in(
        transaction,
        ANALYZE_QUEUE,
        "analyze",
        analysis_workflow_id(job_id, attempt),
        job_id,
        attempt,
        delay_seconds=delay_seconds,
    )


def enqueue_delivery(
    jobs: JobQueue,
    transaction: Transaction,
    job_id: str,
    destination: str,
    attempt: int,
    *,
    config: Destination | None,
    delay_seconds: float = 0.0,
    anew: bool = False,
) -> None:
    """Enqueue an attempt at a delivery, in the caller's transaction.

    Parameters
    ----------
    config : Destination or None
        Its limits; None if there is none of that name, which the attempt then finds.
    anew : bool
        Whether to send also what the destination has taken before.
    delay_seconds : float
        At least; a limited rate may put it off further.
    """
    lanes = 1 if config is None else config.concurrency
    if config is not None and config.per_minute is not None:
        wait_seconds = reserve_pace(
            transaction, destination, interval_seconds=60.0 / config.per_minute
        )
        delay_seconds = max(delay_seconds, wait_seconds)
    # One delivery at a time in a lane: a job keeps to its lane, so its attempts never overlap.
    lane = zlib.crc32(job_id.encode()) % lanes
    jobs.enqueue_in(
        transaction,
        DELIVER_QUEUE,
        "deliver",
        delivery_workflow_id(job_id, destination, attempt),
        job_id,
        destination,
        attempt,
        *((True,) if anew else ()),
        partition=f"{destination}/{lane}",
        delay_seconds=delay_seconds,
    )


def enqueue_commitment_check(
    jobs: JobQueue, transaction: Transaction, transaction_uid: str, *, delay_seconds: float
) -> None:
    """Enqueue the look, later, whether a request for commitment was answered."""
    jobs.enqueue_in(
        transaction,
        DELIVER_QUEUE,
        "check_commitment",
        commitment_workflow_id(transaction_uid, "check"),
        transaction_uid,
        partition="commitment",
        delay_seconds=delay_seconds,
    )
