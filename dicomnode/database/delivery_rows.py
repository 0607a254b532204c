"""Rows of deliveries: attempts, the ledger of what was taken, storage commitment, the pace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.job_rows import DeliveryRow
from dicomnode.database.tables import attempt as attempt_table
from dicomnode.database.tables import commitment_request, delivery, pace, sent
from dicomnode.database.upsert import insert_if_absent

SETTLED_STATES = frozenset(("delivered", "committing", "committed"))
"""States of a delivery whose destination has taken everything that it was to get."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt at a delivery.

    `objects` has one entry an object: ``file``, ``sop_instance_uid``, ``status`` (number or None),
    ``words``, ``accepted``, and ``fallback`` where another object was tried in its place.
    """

    job_id: str
    destination: str
    attempt: int
    outcome: str
    words: str | None
    objects: list[dict[str, Any]]
    seconds: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRow:
    """A request for storage commitment (PS3.4 J.3.2) and what was answered."""

    transaction_uid: str
    job_id: str
    destination: str
    attempt: int
    state: str
    sop_instance_uids: list[str]
    missing: dict[str, str]
    asked_at: datetime
    answered_at: datetime | None


def open_delivery(transaction: Transaction, job_id: str, destination: str) -> bool:
    """Record a delivery as pending; False, and nothing is changed, if it is recorded already."""
    return insert_if_absent(
        transaction,
        delivery,
        job_id=job_id,
        destination=destination,
        state="pending",
        attempts=0,
        attempts_before=0,
        words=None,
        updated_at=datetime.now(UTC),
    )


def reopen_delivery(
    transaction: Transaction, job_id: str, destination: str, words: str, *, only_parked: bool
) -> int | None:
    """Give a delivery a new round of attempts.

    Parameters
    ----------
    only_parked : bool
        Else one that ended in any way, or never was.

    Returns
    -------
    int or None
        Number of the next attempt; None, and nothing is changed, if it is under way or, where
        that is asked for, not parked.
    """
    # Asked and written at once: of two operators who come at the same time one is too late.
    in_state = delivery.c.state == "parked" if only_parked else delivery.c.state != "pending"
    changed = transaction.execute(
        sa.update(delivery)
        .where(_is_delivery(job_id, destination) & in_state)
        .values(
            state="pending",
            attempts_before=delivery.c.attempts,
            words=words,
            updated_at=datetime.now(UTC),
        )
    )
    if changed.rowcount == 1:
        made = sa.select(delivery.c.attempts).where(_is_delivery(job_id, destination))
        return int(transaction.execute(made).scalar_one()) + 1
    if not only_parked and open_delivery(transaction, job_id, destination):
        return 1
    return None


def dismiss_deliveries(transaction: Transaction, job_id: str) -> int:
    """Record that nothing more is owed in a job's parked deliveries; return how many there were."""
    changed = transaction.execute(
        sa.update(delivery)
        .where((delivery.c.job_id == job_id) & (delivery.c.state == "parked"))
        .values(state="dismissed", updated_at=datetime.now(UTC))
    )
    return changed.rowcount


def get_delivery(transaction: Transaction, job_id: str, destination: str) -> DeliveryRow | None:
    """Return one delivery, or None if it is unknown."""
    row = (
        transaction.execute(sa.select(delivery).where(_is_delivery(job_id, destination)))
        .mappings()
        .one_or_none()
    )
    return None if row is None else DeliveryRow(**row)


def settle_delivery(
    transaction: Transaction,
    job_id: str,
    destination: str,
    *,
    state: str,
    attempt: int,
    words: str | None,
    from_settled: bool = False,
) -> bool:
    """Record how an attempt left a delivery.

    Parameters
    ----------
    from_settled : bool
        What had been delivered is found to be missing after all.

    Returns
    -------
    bool
        False, and nothing is changed, if a later attempt is on record, or this one ended well
        already: a run that was taken over has nothing to say about what its successor did.
    """
    is_worse = state in {"pending", "parked"}
    query = sa.update(delivery).where(
        _is_delivery(job_id, destination) & (delivery.c.attempts <= attempt)
    )
    if is_worse and not from_settled:
        query = query.where(delivery.c.state.not_in(SETTLED_STATES))
    settled = transaction.execute(
        query.values(
            state=state,
            attempts=attempt,
            words=None if words is None else words[:500],
            updated_at=datetime.now(UTC),
        )
    )
    return settled.rowcount == 1


def list_pending(transaction: Transaction) -> tuple[DeliveryRow, ...]:
    """Return all deliveries that are under way, or wait for an attempt or for commitment."""
    query = sa.select(delivery).where(delivery.c.state.in_(("pending", "committing")))
    return tuple(DeliveryRow(**row) for row in transaction.execute(query).mappings())


def record_attempt(
    transaction: Transaction,
    job_id: str,
    destination: str,
    number: int,
    *,
    outcome: str,
    words: str | None,
    objects: Sequence[Mapping[str, Any]],
    seconds: float,
) -> None:
    """Record an attempt; a repeat of it after a crash replaces what the first run recorded."""
    values = {
        "outcome": outcome,
        "words": None if words is None else words[:500],
        "objects": [dict(each) for each in objects],
        "seconds": round(seconds, 3),
        "at": datetime.now(UTC),
    }
    key = {"job_id": job_id, "destination": destination, "attempt": number}
    if not insert_if_absent(transaction, attempt_table, **key, **values):
        transaction.execute(
            sa.update(attempt_table)
            .where(
                (attempt_table.c.job_id == job_id)
                & (attempt_table.c.destination == destination)
                & (attempt_table.c.attempt == number)
            )
            .values(**values)
        )


def list_attempts(transaction: Transaction, job_id: str) -> tuple[AttemptRow, ...]:
    """Return all attempts at all deliveries of a job, by destination and number."""
    rows = transaction.execute(
        sa.select(attempt_table)
        .where(attempt_table.c.job_id == job_id)
        .order_by(attempt_table.c.destination, attempt_table.c.attempt)
    ).mappings()
    return tuple(AttemptRow(**row) for row in rows)


def already_sent(
    transaction: Transaction, destination: str, sop_instance_uids: Iterable[str]
) -> frozenset[str]:
    """Return which of the instances the destination has taken before."""
    rows = transaction.execute(
        sa.select(sent.c.sop_instance_uid).where(
            (sent.c.destination == destination)
            & sent.c.sop_instance_uid.in_(list(sop_instance_uids))
        )
    )
    return frozenset(row[0] for row in rows)


def record_sent(
    transaction: Transaction, destination: str, sop_instance_uid: str, *, status: int
) -> None:
    """Write into the ledger that a destination took an instance."""
    insert_if_absent(
        transaction,
        sent,
        destination=destination,
        sop_instance_uid=sop_instance_uid,
        status=status,
        sent_at=datetime.now(UTC),
    )


def forget_sent(
    transaction: Transaction, destination: str, sop_instance_uids: Sequence[str]
) -> None:
    """Strike instances from the ledger: the destination does not have them after all."""
    transaction.execute(
        sa.delete(sent).where(
            (sent.c.destination == destination) & sent.c.sop_instance_uid.in_(sop_instance_uids)
        )
    )


def open_commitment(
    transaction: Transaction,
    transaction_uid: str,
    *,
    job_id: str,
    destination: str,
    attempt: int,
    sop_instance_uids: Sequence[str],
) -> None:
    """Record a request for storage commitment, before it is made; a repeat changes nothing."""
    insert_if_absent(
        transaction,
        commitment_request,
        transaction_uid=transaction_uid,
        job_id=job_id,
        destination=destination,
        attempt=attempt,
        state="asked",
        sop_instance_uids=list(sop_instance_uids),
        missing={},
        asked_at=datetime.now(UTC),
    )


def answer_commitment(
    transaction: Transaction, transaction_uid: str, *, state: str, missing: Mapping[str, str]
) -> bool:
    """Record the answer to a request, or that there was none.

    Returns
    -------
    bool
        False if the request is unknown or was answered before.
    """
    answered = transaction.execute(
        sa.update(commitment_request)
        .where(
            (commitment_request.c.transaction_uid == transaction_uid)
            & (commitment_request.c.state == "asked")
        )
        .values(state=state, missing=dict(missing), answered_at=datetime.now(UTC))
    )
    return answered.rowcount == 1


def get_commitment(transaction: Transaction, transaction_uid: str) -> CommitmentRow | None:
    """Return one request for commitment, or None if it is unknown."""
    row = (
        transaction.execute(
            sa.select(commitment_request).where(
                commitment_request.c.transaction_uid == transaction_uid
            )
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else CommitmentRow(**row)


def list_commitments(transaction: Transaction, job_id: str) -> tuple[CommitmentRow, ...]:
    """Return the requests for commitment of a job, the first first."""
    rows = transaction.execute(
        sa.select(commitment_request)
        .where(commitment_request.c.job_id == job_id)
        .order_by(commitment_request.c.asked_at)
    ).mappings()
    return tuple(CommitmentRow(**row) for row in rows)


def reserve_pace(transaction: Transaction, destination: str, *, interval_seconds: float) -> float:
    """Take the next free moment of a destination with a limited rate.

    Returns
    -------
    float
        Seconds from now until then.
    """
    now = datetime.now(UTC)
    insert_if_absent(transaction, pace, destination=destination, next_at=now)
    # The row is locked until the end of the transaction: two callers never get one moment.
    transaction.execute(
        sa.update(pace).where(pace.c.destination == destination).values(next_at=pace.c.next_at)
    )
    free_at = transaction.execute(
        sa.select(pace.c.next_at).where(pace.c.destination == destination)
    ).scalar_one()
    mine = max(now, free_at)
    transaction.execute(
        sa.update(pace)
        .where(pace.c.destination == destination)
        .values(next_at=mine + timedelta(seconds=interval_seconds))
    )
    return float((mine - now).total_seconds())


def _is_delivery(job_id: str, destination: str) -> sa.ColumnElement[bool]:
    return sa.and_(delivery.c.job_id == job_id, delivery.c.destination == destination)
