"""Rows of open associations: which receiver has one that brought an instance of which series."""

from __future__ import annotations

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import touch
from dicomnode.database.upsert import insert_if_absent


def add_touch(
    transaction: Transaction,
    receiver: str,
    association_id: str,
    *,
    pipeline: str,
    series_instance_uid: str,
) -> None:
    """Record that an open association brought an instance of a series; a repeat changes nothing."""
    insert_if_absent(
        transaction,
        touch,
        receiver=receiver,
        association_id=association_id,
        pipeline=pipeline,
        series_instance_uid=series_instance_uid,
    )


def remove_touches(
    transaction: Transaction, receiver: str, association_id: str | None = None
) -> None:
    """Remove the rows of an association that ended, or all of a receiver."""
    query = sa.delete(touch).where(touch.c.receiver == receiver)
    if association_id is not None:
        query = query.where(touch.c.association_id == association_id)
    transaction.execute(query)


def is_touched_by_others(
    transaction: Transaction, receiver: str, *, pipeline: str, series_instance_uid: str
) -> bool:
    """Whether an open association of another receiver brought an instance of the series."""
    found = transaction.execute(
        sa.select(touch.c.receiver)
        .where(
            (touch.c.pipeline == pipeline)
            & (touch.c.series_instance_uid == series_instance_uid)
            & (touch.c.receiver != receiver)
        )
        .limit(1)
    )
    return found.first() is not None


def list_receivers(transaction: Transaction) -> frozenset[str]:
    """Return the receivers that have rows."""
    rows = transaction.execute(sa.select(touch.c.receiver).distinct())
    return frozenset(str(row[0]) for row in rows)
