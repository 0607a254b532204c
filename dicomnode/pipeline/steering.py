"""What an operator can do with a job: try again, give up.  Works beside a running node."""

from __future__ import annotations

from dicomnode.database import Database
from dicomnode.database.delivery_rows import reopen_delivery
from dicomnode.database.job_rows import END_STATES, get_job, list_deliveries, set_job
from dicomnode.engine import JobQueue
from dicomnode.errors import StateError
from dicomnode.pipeline.identifiers import analysis_workflow_id
from dicomnode.pipeline.workflows import enqueue_analysis, enqueue_delivery


def retry_job(database: Database, jobs: JobQueue, job_id: str) -> str:
    """Enqueue a failed analysis anew, or the parked deliveries of one that ended well.

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
    if job.state in {"failed", "cancelled"}:
        with database.begin() as transaction:
            set_job(
                transaction,
                job_id,
                state="queued",
                attempt=job.attempt + 1,
                reason=None,
                sentence=None,
                runner=None,
            )
            enqueue_analysis(jobs, transaction, job_id, job.attempt + 1)
        return f"{job_id}: the analysis was enqueued again"
    parked = [each for each in deliveries if each.state == "parked"]
    if not parked:
        raise StateError(f"{job_id} is {job.state} and has no parked delivery: nothing to retry")
    for each in parked:
        with database.begin() as transaction:
            number = reopen_delivery(
                transaction, job_id, each.destination, "retried by an operator"
            )
            enqueue_delivery(jobs, transaction, job_id, each.destination, number)
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
            runner=None,
            reason="operator",
            sentence="given up by an operator",
        )
    jobs.cancel(analysis_workflow_id(job_id, job.attempt))
    return f"{job_id}: cancelled"
