"""Answers to requests for storage commitment, wherever they come in.  Who asks is `commitment`.

Receivers take answers too, so nothing of what makes and sends results is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping

from dicomnode.config import Destination
from dicomnode.database import Database, Transaction
from dicomnode.database.delivery_rows import (
    CommitmentRow,
    answer_commitment,
    forget_sent,
    get_commitment,
    get_delivery,
    settle_delivery,
)
from dicomnode.engine import JobQueue
from dicomnode.log import get_logger
from dicomnode.model.commitment import CommitmentReport
from dicomnode.pipeline.enqueue import enqueue_delivery

_log = get_logger("commitment")


def take_report(
    database: Database,
    jobs: JobQueue,
    destinations: Mapping[str, Destination],
    report: CommitmentReport,
) -> bool:
    """Record an answer, and have what the peer does not keep sent again; for any process.

    Returns
    -------
    bool
        False if nobody asked, or it was answered before: nothing is changed then.
    """
    with database.begin() as transaction:
        row = get_commitment(transaction, report.transaction_uid)
        if row is None:
            _log.warning("commitment_report_unasked", transaction=report.transaction_uid)
            return False
        missing = {
            uid: report.failed.get(uid, "the report does not mention it")
            for uid in row.sop_instance_uids
            if uid not in report.committed
        }
        state = "failed" if missing else "committed"
        if not answer_commitment(transaction, row.transaction_uid, state=state, missing=missing):
            return False
        if missing:
            forget_sent(transaction, row.destination, list(missing))
            words = "; ".join(f"{uid}: {why}" for uid, why in missing.items())
            go_on(transaction, jobs, destinations, row, f"not committed: {words}")
        else:
            settle_delivery(
                transaction,
                row.job_id,
                row.destination,
                state="committed",
                attempt=row.attempt,
                words="the destination has committed itself",
            )
    _log.info("commitment", job=row.job_id, destination=row.destination, state=state)
    return True


def go_on(
    transaction: Transaction,
    jobs: JobQueue,
    destinations: Mapping[str, Destination],
    row: CommitmentRow,
    words: str,
    *,
    is_final: bool = False,
) -> None:
    """Enqueue the next attempt at the delivery, or park it after the last."""
    delivery = get_delivery(transaction, row.job_id, row.destination)
    config = destinations.get(row.destination)
    if delivery is None or delivery.attempts != row.attempt:
        return  # a later attempt is on its way
    made = row.attempt - delivery.attempts_before
    is_last = is_final or config is None or made >= config.max_attempts
    settle_delivery(
        transaction,
        row.job_id,
        row.destination,
        state="parked" if is_last else "pending",
        attempt=row.attempt,
        words=words,
        from_settled=True,
    )
    if not is_last and config is not None:
        enqueue_delivery(
            jobs,
            transaction,
            row.job_id,
            row.destination,
            row.attempt + 1,
            config=config,
            delay_seconds=config.first_retry_seconds,
        )
