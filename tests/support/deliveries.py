"""Deliveries as attempts leave them, without an attempt."""

from __future__ import annotations

from dicomnode.database import Transaction
from dicomnode.database.delivery_rows import open_delivery, settle_delivery


def set_delivery(
    transaction: Transaction,
    job_id: str,
    destination: str,
    *,
    state: str,
    attempts: int,
    words: str | None,
) -> None:
    """Record a delivery as its last attempt left it."""
    open_delivery(transaction, job_id, destination)
    settle_delivery(
        transaction,
        job_id,
        destination,
        state=state,
        attempt=attempts,
        words=words,
        from_settled=True,
    )
