"""Looking after jobs from outside: given up, waiting for a model, or left lying by the engine.

The workflows themselves are in `workflows`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from dicomnode.database import Database, is_away
from dicomnode.database.delivery_rows import get_delivery, list_pending, settle_delivery
from dicomnode.database.job_rows import (
    END_STATES,
    JobRow,
    end_stage,
    get_job,
    list_unended,
    set_job,
)
from dicomnode.engine import JobQueue
from dicomnode.inference.turns import Asker
from dicomnode.log import get_logger
from dicomnode.metrics import DELIVERIES, JOBS
from dicomnode.pipeline.identifiers import analysis_workflow_id, delivery_workflow_id

_CANCEL_POLL_SECONDS: Final = 0.5

_log = get_logger("pipeline")


@contextmanager
def watch_for_cancel(database: Database, job_id: str) -> Iterator[threading.Event]:
    """Yield an event that is set when an operator gives the job up while the block runs."""
    cancelled = threading.Event()
    left = threading.Event()

    def watch() -> None:
        while not left.wait(_CANCEL_POLL_SECONDS):  # the word comes from another process
            try:
                with database.begin() as transaction:
                    job = get_job(transaction, job_id)
            except Exception as error:  # noqa: BLE001  (the block goes on without its watch)
                if not is_away(error):
                    _log.warning("cancel_watch_failed", job=job_id, error=type(error).__name__)
                continue
            if job is not None and job.state == "cancelled":
                _log.info("job_cancelled_while_running", job=job_id)
                cancelled.set()
                return

    watcher = threading.Thread(target=watch, name="cancel-watch", daemon=True)
    watcher.start()
    try:
        yield cancelled
    finally:
        left.set()
        watcher.join()


def tell_of_turns(database: Database, job: JobRow) -> Asker:
    """Return who puts on record that a running job waits for its turn at a model."""

    def note(sentence: str | None) -> None:
        state = "running" if sentence is None else "waiting"
        reason = None if sentence is None else "model_busy"
        try:
            with database.begin() as transaction:
                end_stage(
                    transaction,
                    job.id,
                    runner=str(job.runner),
                    state=state,
                    reason=reason,
                    sentence=sentence,
                )
        except Exception as error:
            if not is_away(error):
                raise
            # Worth no repeat of what the models have answered so far.
            _log.warning("turn_not_recorded", job=job.id, error=type(error).__name__)
        _log.info("job_state", job=job.id, state=state, reason=reason)

    return Asker(note)


def park_broken(database: Database, jobs: JobQueue) -> int:
    """Put on record what the engine has given up: a series that kills its worker, an inner error.

    Without it such a job would read ``running`` for ever.

    Returns
    -------
    int
        How many jobs and deliveries were parked.
    """
    return _park_analyses(database, jobs) + _park_deliveries(database, jobs)


def _park_analyses(database: Database, jobs: JobQueue) -> int:
    with database.begin() as transaction:
        unended = {
            analysis_workflow_id(job_id, attempt): (job_id, attempt)
            for job_id, attempt in list_unended(transaction)
        }
    parked = 0
    for workflow_id, words in jobs.broken(tuple(unended)).items():
        job_id, attempt = unended[workflow_id]
        with database.begin() as transaction:
            job = get_job(transaction, job_id)
            # An operator may have been quicker.
            if job is None or job.attempt != attempt or job.state in END_STATES:
                continue
            set_job(
                transaction,
                job_id,
                state="failed",
                runner=None,
                reason="given_up",
                sentence=f"the analysis was given up: {words}",
            )
        parked += 1
        JOBS.labels(job.pipeline, "failed").inc()
        _log.error("job_given_up", job=job_id, words=words)
    return parked


def _park_deliveries(database: Database, jobs: JobQueue) -> int:
    with database.begin() as transaction:
        pending = list_pending(transaction)
    # The attempt on record, or the one after it: a death lies between the two.
    candidates = {
        delivery_workflow_id(row.job_id, row.destination, row.attempts + further): (row, further)
        for row in pending
        for further in (0, 1)
    }
    broken = jobs.broken(tuple(candidates))
    goes_on = jobs.known(tuple(candidates)) - broken.keys()
    parked = 0
    for workflow_id, words in broken.items():
        row, further = candidates[workflow_id]
        after = delivery_workflow_id(row.job_id, row.destination, row.attempts + 1)
        if further == 0 and (after in goes_on or after in broken):
            continue
        with database.begin() as transaction:
            if get_delivery(transaction, row.job_id, row.destination) != row:
                continue  # an operator was quicker
            is_parked = settle_delivery(
                transaction,
                row.job_id,
                row.destination,
                state="parked",
                attempt=row.attempts + further,
                words=f"given up: {words}",
                from_settled=row.state == "committing",
            )
        if is_parked:
            parked += 1
            DELIVERIES.labels(row.destination, "parked").inc()
            _log.error(
                "delivery_given_up", job=row.job_id, destination=row.destination, words=words
            )
    return parked
