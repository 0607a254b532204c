"""What an operator can do with a job: try again, give up.  Works beside a running node."""

from __future__ import annotations

from dicomnode.database import Database
from dicomnode.database.job_rows import END_STATES, get_job, list_deliveries, set_delivery, set_job
from dicomnode.engine import JobQueue
from dicomnode.errors import StateError
from dicomnode.pipeline.workflows import (
    analysis_workflow_id,
    enqueue_analysis,
    enqueue_delivery,
)


def retry_job(database: Database, jobs: JobQueue, job_id: str) -> str:
    """Enqueue an analysis anew that failed or was not wanted, or parked deliveries of another.

    Returns
    -------
    str
        What was done, in words.

    Raises
    ------
    StateError
        If there is no such job, or nothing of it failed.
    """
    with database.begin() as transaction:
        job = get_job(transaction, job_id)
        deliveries = list_deliveries(transaction, job_id)
    if job is None:
        raise StateError(f"no job {job_id}")
    # The rules of selection may have been changed since: they are asked anew.
    if job.state in {"failed", "cancelled", "not_selected"}:
        with database.begin() as transaction:
            set_job(
                transaction,
                job_id,
                state="queued",
                attempt=job.attempt + 1,
                reason=None,
                sentence=None,
            )
        enqueue_analysis(jobs, job_id, job.attempt + 1)
        return f"{job_id}: the analysis was enqueued again"
    parked = [each for each in deliveries if each.state == "parked"]
    if not parked:
        raise StateError(f"{job_id} is {job.state} and has no parked delivery: nothing to retry")
    for each in parked:
        with database.begin() as transaction:
            set_delivery(
                transaction,
                job_id,
                each.destination,
                state="pending",
                attempts=each.attempts,
                words="retried by an operator",
            )
        enqueue_delivery(jobs, job_id, each.destination, each.attempts + 1)
    names = ", ".join(each.destination for each in parked)
    return f"{job_id}: delivery was enqueued again to {names}"


def cancel_job(database: Database, jobs: JobQueue, job_id: str) -> str:
    """Stop an analysis that has not ended.

    Returns
    -------
    str
        What was done, in words.

    Raises
    ------
    StateError
        If there is no such job, or it has ended.
    """
    with database.begin() as transaction:
        job = get_job(transaction, job_id)
        if job is None:
            raise StateError(f"no job {job_id}")
        if job.state in END_STATES:
            raise StateError(f"{job_id} is {job.state} already")
        set_job(
            transaction,
            job_id,
            state="cancelled",
            reason="operator",
            sentence="given up by an operator",
        )
    jobs.cancel(analysis_workflow_id(job_id, job.attempt))
    return f"{job_id}: cancelled"
