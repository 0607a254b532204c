"""Rows of destinations: what each said when it was last asked, and its last delivery."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import attempt, destination_check
from dicomnode.database.upsert import insert_if_absent


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """What a destination said when it was asked whether it is there."""

    destination: str
    is_ok: bool
    words: str
    seconds: float
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDelivery:
    """The latest attempt at a delivery to a destination."""

    destination: str
    job_id: str
    outcome: str
    words: str | None
    at: datetime


def record_check(
    transaction: Transaction, destination: str, *, is_ok: bool, words: str, seconds: float
) -> CheckRow:
    """Record what a destination said; what it said before is forgotten."""
    now = datetime.now(UTC)
    values = {"is_ok": is_ok, "words": words[:500], "seconds": round(seconds, 4), "at": now}
    if not insert_if_absent(transaction, destination_check, destination=destination, **values):
        transaction.execute(
            sa.update(destination_check)
            .where(destination_check.c.destination == destination)
            .values(**values)
        )
    return CheckRow(
        destination=destination,
        is_ok=is_ok,
        words=words[:500],
        seconds=round(seconds, 4),
        at=now,
    )


def list_checks(transaction: Transaction) -> dict[str, CheckRow]:
    """Return the last check of each destination that was ever asked."""
    rows = transaction.execute(sa.select(destination_check)).mappings()
    return {row["destination"]: CheckRow(**row) for row in rows}


def last_deliveries(transaction: Transaction) -> dict[str, LastDelivery]:
    """Return the latest attempt at each destination that had one."""
    newest = (
        sa.select(attempt.c.destination, sa.func.max(attempt.c.at).label("at"))
        .group_by(attempt.c.destination)
        .subquery()
    )
    rows = transaction.execute(
        sa.select(
            attempt.c.destination,
            attempt.c.job_id,
            attempt.c.outcome,
            attempt.c.words,
            attempt.c.at,
        ).join(
            newest,
            (newest.c.destination == attempt.c.destination) & (newest.c.at == attempt.c.at),
        )
    ).mappings()
    return {row["destination"]: LastDelivery(**row) for row in rows}
