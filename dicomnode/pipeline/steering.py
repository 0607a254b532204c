"""What an operator can do with a job: try again, give up.  Works beside a running node."""

from __future__ import annotations

from dicomnode.database import Database
from dicomnode.database.job_rows import cancel, get_job, list_deliveries, set_delivery, set_job
from dicomnode.engine import JobQueue
from dicomnode.errors import StateError
from dicomnode.pipeline.workflows import (
    ANALYZE_QUEUE,
    DELIVER_QUEUE,
    analysis_workflow_id,
    delivery_workflow_id,
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
            attempt = job.attempt + 1
            set_job(
                transaction, job_id, state="queued", attempt=attempt, reason=None, sentence=None
            )
            workflow_id = analysis_workflow_id(job_id, attempt)
            jobs.enqueue_in(transaction, ANALYZE_QUEUE, "analyze", workflow_id, job_id, attempt)
        return f"{job_id}: the analysis was enqueued again"
    parked = [each for each in deliveries if each.state == "parked"]
    if not parked:
        raise StateError(f"{job_id} is {job.state} and has no parked delivery: nothing to retry")
    with database.begin() as transaction:
        for each in parked:
            set_delivery(
                transaction,
                job_id,
                each.destination,
                state="pending",
                attempts=each.attempts,
                words="retried by an operator",
            )
            attempt = each.attempts + 1
            jobs.enqueue_in(
                transaction,
                DELIVER_QUEUE,
                "deliver",
                delivery_workflow_id(job_id, each.destination, attempt),
                job_id,
                each.destination,
                attempt,
                partition=each.destination,
            )
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
        if not cancel(transaction, job_id):
            raise StateError(f"{job_id} is {job.state} already")
    jobs.cancel(analysis_workflow_id(job_id, job.attempt))
    return f"{job_id}: cancelled"
