"""What an operator can do with a job: try again, give up.  Works beside a running node."""

from __future__ import annotations

from collections.abc import Mapping

from dicomnode.config import SENDER, Destination
from dicomnode.database import Database, Transaction
from dicomnode.database.delivery_rows import dismiss_deliveries, reopen_delivery
from dicomnode.database.job_rows import (
    JobRow,
    cancel,
    dismiss,
    get_job,
    list_deliveries,
    lock_job,
    reopen_job,
)
from dicomnode.engine import JobQueue
from dicomnode.errors import StateError
from dicomnode.pipeline.enqueue import enqueue_analysis, enqueue_delivery
from dicomnode.pipeline.identifiers import analysis_workflow_id


def retry_job(
    database: Database,
    jobs: JobQueue,
    job_id: str,
    *,
    destinations: Mapping[str, Destination] | None = None,
) -> str:
    """Enqueue an analysis anew that failed or was not wanted, or parked deliveries of another.

    The analysis goes on from the step that failed: what earlier steps left is still there.

    Parameters
    ----------
    destinations : mapping of str to Destination, optional
        By name, for the limits of each.

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
        # The rules of selection may have been changed since: they are asked anew.
        attempt = reopen_job(transaction, job_id)
        if attempt is not None:
            enqueue_analysis(jobs, transaction, job_id, attempt)
            return f"{job_id}: the analysis was enqueued again"
        job = _hold_job(transaction, job_id)
        retried: list[str] = []
        for each in list_deliveries(transaction, job_id):
            name = each.destination
            number = reopen_delivery(
                transaction, job_id, name, "retried by an operator", only_parked=True
            )
            if number is None:
                continue
            config = (destinations or {}).get(name)
            enqueue_delivery(jobs, transaction, job_id, name, number, config=config)
            retried.append(name)
    if not retried:
        raise StateError(f"{job_id} is {job.state} and has no parked delivery: nothing to retry")
    return f"{job_id}: delivery was enqueued again to {', '.join(retried)}"


def send_job(
    database: Database,
    jobs: JobQueue,
    job_id: str,
    name: str,
    *,
    destinations: Mapping[str, Destination],
) -> str:
    """Send the results of a job to a destination, be it one of its pipeline's or not.

    All of them, also what it has taken before: who asks by hand knows that it has lost them.  They
    go under the same UIDs, so whoever has them still has nothing twice.

    Returns
    -------
    str
        What was done, in words.

    Raises
    ------
    StateError
        If there is no such job or destination, the job has no results, or it is being sent there.
    """
    if name not in destinations and name != SENDER:
        known = ", ".join(sorted(destinations)) or "none"
        raise StateError(f"no destination is called {name!r}; known are {known}")
    with database.begin() as transaction:
        job = _hold_job(transaction, job_id)
        if not job.files:
            raise StateError(f"{job_id} is {job.state} and has no results to send")
        number = reopen_delivery(
            transaction, job_id, name, "sent by an operator", only_parked=False
        )
        if number is None:
            raise StateError(f"{job_id} is being sent to {name} already")
        enqueue_delivery(
            jobs,
            transaction,
            job_id,
            name,
            number,
            config=destinations.get(name),
            anew=True,
        )
    return f"{job_id}: delivery to {name} was enqueued"


def dismiss_job(database: Database, job_id: str) -> str:
    """Say that nothing more is owed: a failed analysis, or parked deliveries, may be pruned.

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
        was_failed = dismiss(transaction, job_id)
        if not dismiss_deliveries(transaction, job_id) and not was_failed:
            job = _find_job(transaction, job_id)
            raise StateError(f"{job_id} is {job.state} and has no parked delivery")
    return f"{job_id}: dismissed"


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
        is_cancelled = cancel(transaction, job_id)
        job = _find_job(transaction, job_id)
        if not is_cancelled:
            raise StateError(f"{job_id} is {job.state} already")
    jobs.cancel(analysis_workflow_id(job_id, job.attempt))
    return f"{job_id}: cancelled"


def _find_job(transaction: Transaction, job_id: str) -> JobRow:
    job = get_job(transaction, job_id)
    if job is None:
        raise StateError(f"no job {job_id}")
    return job


def _hold_job(transaction: Transaction, job_id: str) -> JobRow:
    """Find a job whose results retention must not remove meanwhile."""
    lock_job(transaction, job_id)
    return _find_job(transaction, job_id)
