"""What an operator can do with a job: try again, give up.  Works beside a running node."""

from __future__ import annotations

from collections.abc import Mapping

from dicomnode.config import SENDER, Destination
from dicomnode.database import Database, Transaction
from dicomnode.database.delivery_rows import get_delivery, reopen_delivery, settle_delivery
from dicomnode.database.job_rows import JobRow, cancel, get_job, list_deliveries, set_job
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
        job = _find_job(transaction, job_id)
        deliveries = list_deliveries(transaction, job_id)
    # The rules of selection may have been changed since: they are asked anew.
    if job.state in {"failed", "cancelled", "not_selected"}:
        with database.begin() as transaction:
            attempt = job.attempt + 1
            set_job(
                transaction,
                job_id,
                state="queued",
                attempt=attempt,
                interruptions=0,
                reason=None,
                sentence=None,
                runner=None,
            )
            enqueue_analysis(jobs, transaction, job_id, attempt)
        return f"{job_id}: the analysis was enqueued again"
    parked = [each for each in deliveries if each.state == "parked"]
    if not parked:
        raise StateError(f"{job_id} is {job.state} and has no parked delivery: nothing to retry")
    with database.begin() as transaction:
        for each in parked:
            number = reopen_delivery(
                transaction, job_id, each.destination, "retried by an operator"
            )
            enqueue_delivery(
                jobs,
                transaction,
                job_id,
                each.destination,
                number,
                config=(destinations or {}).get(each.destination),
            )
    names = ", ".join(each.destination for each in parked)
    return f"{job_id}: delivery was enqueued again to {names}"


def send_job(
    database: Database,
    jobs: JobQueue,
    job_id: str,
    name: str,
    *,
    destinations: Mapping[str, Destination],
) -> str:
    """Send the results of a job to a destination, be it one of its pipeline's or not.

    What the destination has taken before is not sent again.

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
        job = _find_job(transaction, job_id)
        if not job.files:
            raise StateError(f"{job_id} is {job.state} and has no results to send")
        row = get_delivery(transaction, job_id, name)
        if row is not None and row.state == "pending":
            raise StateError(f"{job_id} is being sent to {name} already")
        number = reopen_delivery(transaction, job_id, name, "sent by an operator")
        enqueue_delivery(jobs, transaction, job_id, name, number, config=destinations.get(name))
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
        job = _find_job(transaction, job_id)
        parked = [each for each in list_deliveries(transaction, job_id) if each.state == "parked"]
        if job.state == "failed":
            set_job(transaction, job_id, state="cancelled", runner=None)
        elif not parked:
            raise StateError(f"{job_id} is {job.state} and has no parked delivery")
        for each in parked:
            settle_delivery(
                transaction,
                job_id,
                each.destination,
                state="dismissed",
                attempt=each.attempts,
                words=each.words,
            )
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
        job = _find_job(transaction, job_id)
        if not cancel(transaction, job_id):
            raise StateError(f"{job_id} is {job.state} already")
    jobs.cancel(analysis_workflow_id(job_id, job.attempt))
    return f"{job_id}: cancelled"


def _find_job(transaction: Transaction, job_id: str) -> JobRow:
    job = get_job(transaction, job_id)
    if job is None:
        raise StateError(f"no job {job_id}")
    return job
