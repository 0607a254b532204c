"""Rows of storage commitment requests: asked, claimed, reported or parked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import commitment
from dicomnode.database.upsert import insert_if_absent

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentRow:
    """A request as recorded.  `state` is ``pending``, ``reported`` or ``parked``."""

    pipeline: str
    calling_ae_title: str
    transaction_uid: str
    called_ae_title: str
    instances: tuple[Reference, ...]
    state: str
    attempts: int
    words: str | None
    due_at: datetime
    created_at: datetime
    updated_at: datetime


def add_commitment(
    transaction: Transaction,
    *,
    pipeline: str,
    calling_ae_title: str,
    called_ae_title: str,
    transaction_uid: str,
    instances: Sequence[Reference],
    due_at: datetime,
    at: datetime,
) -> bool:
    """Record a request; the same request once more makes it pending again.

    Returns
    -------
    bool
        False if the peer used its Transaction UID before for other instances.
    """
    listed = [list(each) for each in instances]
    is_new = insert_if_absent(
        transaction,
        commitment,
        pipeline=pipeline,
        calling_ae_title=calling_ae_title,
        transaction_uid=transaction_uid,
        called_ae_title=called_ae_title,
        instances=listed,
        state="pending",
        attempts=0,
        due_at=due_at,
        created_at=at,
        updated_at=at,
    )
    if is_new:
        return True
    same = _is(pipeline, calling_ae_title, transaction_uid)
    kept = transaction.execute(sa.select(commitment.c.instances).where(same)).scalar_one()
    if sorted(kept) != sorted(listed):
        return False
    transaction.execute(
        sa.update(commitment)
        .where(same)
        .values(state="pending", attempts=0, due_at=due_at, updated_at=at)
    )
    return True


def get_commitment(
    transaction: Transaction, pipeline: str, calling_ae_title: str, transaction_uid: str
) -> CommitmentRow | None:
    """Return one request, or None if it is unknown."""
    row = (
        transaction.execute(
            sa.select(commitment).where(_is(pipeline, calling_ae_title, transaction_uid))
        )
        .mappings()
        .one_or_none()
    )
    return None if row is None else _row(row)


def list_commitments(transaction: Transaction, *, limit: int = 1000) -> tuple[CommitmentRow, ...]:
    """Return requests, the latest first."""
    query = sa.select(commitment).order_by(commitment.c.created_at.desc()).limit(limit)
    return tuple(_row(row) for row in transaction.execute(query).mappings())


def claim_due(transaction: Transaction, *, now: datetime, until: datetime) -> CommitmentRow | None:
    """Take the pending request that has been due longest, for oneself, until a time.

    Returns
    -------
    CommitmentRow or None
        None if nothing is due, or somebody else was faster.
    """
    query = (
        sa.select(commitment)
        .where((commitment.c.state == "pending") & (commitment.c.due_at <= now))
        .order_by(commitment.c.due_at)
        .limit(1)
    )
    row = transaction.execute(query).mappings().one_or_none()
    if row is None:
        return None
    claimed = transaction.execute(
        sa.update(commitment)
        .where(
            _is(row["pipeline"], row["calling_ae_title"], row["transaction_uid"])
            & (commitment.c.state == "pending")
            & (commitment.c.due_at == row["due_at"])
        )
        .values(due_at=until)
    )
    return _row(row) if claimed.rowcount == 1 else None


def next_due(transaction: Transaction) -> datetime | None:
    """Return when the next pending request is due, None if there is none."""
    found: datetime | None = transaction.execute(
        sa.select(sa.func.min(commitment.c.due_at, type_=commitment.c.due_at.type)).where(
            commitment.c.state == "pending"
        )
    ).scalar_one_or_none()
    return found


def set_commitment(
    transaction: Transaction,
    row: CommitmentRow,
    *,
    state: Literal["pending", "reported", "parked"],
    attempts: int,
    words: str,
    due_at: datetime,
    at: datetime,
) -> None:
    """Record how an attempt to report went, and when the next is due."""
    transaction.execute(
        sa.update(commitment)
        .where(_is(row.pipeline, row.calling_ae_title, row.transaction_uid))
        .values(state=state, attempts=attempts, words=words[:500], due_at=due_at, updated_at=at)
    )


def _is(pipeline: str, calling_ae_title: str, transaction_uid: str) -> Any:
    return (
        (commitment.c.pipeline == pipeline)
        & (commitment.c.calling_ae_title == calling_ae_title)
        & (commitment.c.transaction_uid == transaction_uid)
    )


def _row(row: Any) -> CommitmentRow:
    instances = tuple((each[0], each[1]) for each in row["instances"])
    return CommitmentRow(**(dict(row) | {"instances": instances}))
