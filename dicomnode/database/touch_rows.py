"""Rows of open associations: which receivers are bringing instances of which series."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import series, touch
from dicomnode.database.upsert import insert_if_absent


@dataclass(frozen=True, slots=True)
class Traffic:
    """What all receivers together have done to a series.

    Attributes
    ----------
    instance_count : int
        Instances that are recorded.
    is_touched_elsewhere : bool
        Whether another receiver has an open association that brought some.
    """

    instance_count: int
    is_touched_elsewhere: bool


def record_touch(
    transaction: Transaction,
    association_id: str,
    pipeline: str,
    series_instance_uid: str,
    *,
    receiver: str,
) -> None:
    """Record that an open association brings instances of a series."""
    insert_if_absent(
        transaction,
        touch,
        association_id=association_id,
        pipeline=pipeline,
        series_instance_uid=series_instance_uid,
        receiver=receiver,
    )


def forget_association(transaction: Transaction, association_id: str) -> None:
    """Forget an association that ended."""
    transaction.execute(sa.delete(touch).where(touch.c.association_id == association_id))


def forget_receiver(transaction: Transaction, receiver: str) -> None:
    """Forget all associations of a receiver: it has just started and has none."""
    transaction.execute(sa.delete(touch).where(touch.c.receiver == receiver))


def read_traffic(
    transaction: Transaction, pipeline: str, series_instance_uid: str, *, receiver: str
) -> Traffic:
    """Return what a receiver must know of the others before it closes a series."""
    count = transaction.execute(
        sa.select(series.c.instance_count).where(
            (series.c.pipeline == pipeline) & (series.c.series_instance_uid == series_instance_uid)
        )
    ).scalar_one_or_none()
    elsewhere = transaction.execute(
        sa.select(sa.func.count())
        .select_from(touch)
        .where(
            (touch.c.pipeline == pipeline)
            & (touch.c.series_instance_uid == series_instance_uid)
            & (touch.c.receiver != receiver)
        )
    ).scalar_one()
    return Traffic(int(count or 0), elsewhere > 0)


def list_open_associations(transaction: Transaction) -> dict[str, frozenset[str]]:
    """Return the associations on record by receiver, of those that have any."""
    rows = transaction.execute(sa.select(touch.c.receiver, touch.c.association_id).distinct())
    found: dict[str, set[str]] = {}
    for receiver, association_id in rows:
        found.setdefault(str(receiver), set()).add(str(association_id))
    return {receiver: frozenset(each) for receiver, each in found.items()}
