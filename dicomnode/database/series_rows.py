"""Rows of series and their instances: recording what arrived, closing a revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import instance, series
from dicomnode.database.upsert import insert_if_absent, insert_many_if_absent
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision, content_digest

_AT_ONCE: Final = 500
"""Databases limit how many values a query may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRow:
    """A series as recorded.  `state` is ``open`` or ``closed``."""

    pipeline: str
    series_instance_uid: str
    study_instance_uid: str
    calling_ae_title: str
    state: str
    revision: int
    digest: str | None
    closed_because: str | None
    instance_count: int
    first_received_at: datetime
    last_received_at: datetime
    traceparent: str | None = None


Duplicates = Literal["keep-first", "replace", "refuse"]
"""Which of two instances with one SOP Instance UID and different content stays."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording an instance did.

    Attributes
    ----------
    is_new : bool
        False for a repeat, which changes nothing and opens nothing.
    digest : str
        Digest of the instance that the series holds; another one's if the sender used its
        SOP Instance UID before for different bytes.
    instance_count : int or None
        How many the series holds now; None for a repeat.
    replaced : str or None
        Digest of the instance that had to go.
    """

    is_new: bool
    digest: str
    instance_count: int | None = None
    replaced: str | None = None


def _instance_row(pipeline: str, ref: InstanceRef, at: datetime) -> dict[str, Any]:
    """Return the columns of an instance: those of its reference, by the same names."""
    facts = {name: getattr(ref, name) for name in InstanceRef.__dataclass_fields__}
    return {"pipeline": pipeline, **facts, "received_at": at}


def record_instance(
    transaction: Transaction,
    pipeline: str,
    ref: InstanceRef,
    *,
    calling_ae_title: str,
    at: datetime,
    duplicates: Duplicates = "keep-first",
) -> Recorded:
    """Record a stored instance and open its series.

    Of two with one SOP Instance UID and different content the first is kept, unless it turned out
    useless, or `duplicates` is ``replace``; and only if both are of the same series.
    """
    is_new = insert_if_absent(transaction, instance, **_instance_row(pipeline, ref, at))
    if not is_new:
        kept = (instance.c.pipeline == pipeline) & (
            instance.c.sop_instance_uid == ref.sop_instance_uid
        )
        first = transaction.execute(sa.select(instance).where(kept)).mappings().one()
        may_go = first["fault"] is not None or duplicates == "replace"
        if (
            not may_go
            or first["digest"] == ref.digest
            or first["series_instance_uid"] != ref.series_instance_uid
        ):
            return Recorded(is_new=False, digest=first["digest"])
        transaction.execute(
            sa.update(instance).where(kept).values(**_instance_row(pipeline, ref, at), fault=None)
        )
        transaction.execute(
            sa.update(series)
            .where(_is_series(pipeline, ref.series_instance_uid))
            .values(state="open", last_received_at=at)
        )
        return Recorded(is_new=True, digest=ref.digest, replaced=first["digest"])
    insert_if_absent(
        transaction,
        series,
        pipeline=pipeline,
        series_instance_uid=ref.series_instance_uid,
        study_instance_uid=ref.study_instance_uid,
        calling_ae_title=calling_ae_title,
        state="open",
        revision=0,
        instance_count=0,
        first_received_at=at,
        last_received_at=at,
    )
    count = transaction.execute(
        sa.update(series)
        .where(_is_series(pipeline, ref.series_instance_uid))
        .values(state="open", instance_count=series.c.instance_count + 1, last_received_at=at)
        .returning(series.c.instance_count)
    ).scalar_one()
    return Recorded(is_new=True, digest=ref.digest, instance_count=count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """An instance to be recorded: for which pipeline, from whom, when, and in which trace."""

    pipeline: str
    ref: InstanceRef
    calling_ae_title: str
    at: datetime
    traceparent: str | None = None


def record_instances(transaction: Transaction, arrived: Sequence[Arrived]) -> tuple[Recorded, ...]:
    """Do as `record_instance` for each in turn, with a few statements for all of them.

    Returns
    -------
    tuple of Recorded
        In the order of `arrived`.
    """
    firsts: dict[tuple[str, str], Arrived] = {}
    for each in arrived:
        firsts.setdefault((each.pipeline, each.ref.sop_instance_uid), each)
    new = insert_many_if_absent(
        transaction,
        instance,
        [_instance_row(each.pipeline, each.ref, each.at) for each in firsts.values()],
    )
    counts = _count_in(transaction, [firsts[key] for key in firsts if key in new])
    kept = {key: firsts[key].ref.digest for key in new}
    for pipeline, sop_instance_uid in firsts.keys() - new:
        where = (instance.c.pipeline == pipeline) & (
            instance.c.sop_instance_uid == sop_instance_uid
        )
        kept[pipeline, sop_instance_uid] = transaction.execute(
            sa.select(instance.c.digest).where(where)
        ).scalar_one()
    recorded: list[Recorded] = []
    for each in arrived:
        key = (each.pipeline, each.ref.sop_instance_uid)
        is_new = key in new and firsts[key] is each
        count = counts[each.pipeline, each.ref.series_instance_uid] if is_new else None
        recorded.append(Recorded(is_new=is_new, digest=kept[key], instance_count=count))
    return tuple(recorded)


def _count_in(transaction: Transaction, new: Sequence[Arrived]) -> dict[tuple[str, str], int]:
    """Open the series of instances that were not there before, and return how many they hold."""
    counts: dict[tuple[str, str], int] = {}
    by_series: dict[tuple[str, str], list[Arrived]] = {}
    for each in new:
        by_series.setdefault((each.pipeline, each.ref.series_instance_uid), []).append(each)
    for (pipeline, series_instance_uid), members in by_series.items():
        insert_if_absent(
            transaction,
            series,
            pipeline=pipeline,
            series_instance_uid=series_instance_uid,
            study_instance_uid=members[0].ref.study_instance_uid,
            calling_ae_title=members[0].calling_ae_title,
            state="open",
            revision=0,
            instance_count=0,
            first_received_at=members[0].at,
            last_received_at=members[0].at,
        )
        mine = members[0].traceparent
        was = sa.func.coalesce(series.c.traceparent, mine)
        counts[pipeline, series_instance_uid] = transaction.execute(
            sa.update(series)
            .where(_is_series(pipeline, series_instance_uid))
            .values(
                state="open",
                instance_count=series.c.instance_count + len(members),
                last_received_at=members[-1].at,
                # What opens a closed series again begins the trace of its next revision.
                traceparent=sa.case((series.c.state == "open", was), else_=mine),
            )
            .returning(series.c.instance_count)
        ).scalar_one()
    return counts


def close_series(
    transaction: Transaction, pipeline: str, series_instance_uid: str, *, because: str
) -> SeriesRevision | None:
    """Close an open series as its next revision.

    Returns
    -------
    SeriesRevision or None
        None if the series is not open any more: someone else closed it.
    """
    closed = transaction.execute(
        sa.update(series)
        .where(_is_series(pipeline, series_instance_uid) & (series.c.state == "open"))
        .values(state="closed", revision=series.c.revision + 1, closed_because=because)
    )
    if closed.rowcount != 1:
        return None
    digest = content_digest(list_instances(transaction, pipeline, series_instance_uid))
    transaction.execute(
        sa.update(series).where(_is_series(pipeline, series_instance_uid)).values(digest=digest)
    )
    row = get_series(transaction, pipeline, series_instance_uid)
    if row is None:  # pragma: no cover  (the update above found it)
        return None
    return SeriesRevision(
        pipeline=pipeline,
        series_instance_uid=series_instance_uid,
        revision=row.revision,
        digest=digest,
        traceparent=row.traceparent,
    )


def hold_series(
    transaction: Transaction, pipeline: str, series_instance_uid: str, *, because: str
) -> None:
    """Keep an open series from being closed until a person says so, or an instance comes."""
    transaction.execute(
        sa.update(series)
        .where(_is_series(pipeline, series_instance_uid) & (series.c.state == "open"))
        .values(state="held", closed_because=because[:20])
    )


def release_held(transaction: Transaction, series_instance_uid: str) -> int:
    """Open the held revisions of a series, so that a node closes them; return how many."""
    released = transaction.execute(
        sa.update(series)
        .where((series.c.series_instance_uid == series_instance_uid) & (series.c.state == "held"))
        .values(state="open")
    )
    return released.rowcount


def set_fault(transaction: Transaction, pipeline: str, key: str, fault: str) -> None:
    """Record that an instance is useless, and why."""
    transaction.execute(
        sa.update(instance)
        .where((instance.c.pipeline == pipeline) & (instance.c.key == key))
        .values(fault=fault[:200])
    )


def list_faults(
    transaction: Transaction, pipeline: str, series_instance_uid: str
) -> tuple[tuple[str, str], ...]:
    """Return SOP Instance UID and fault of every useless instance of a series."""
    rows = transaction.execute(
        sa.select(instance.c.sop_instance_uid, instance.c.fault)
        .where(
            (instance.c.pipeline == pipeline)
            & (instance.c.series_instance_uid == series_instance_uid)
            & instance.c.fault.is_not(None)
        )
        .order_by(instance.c.sop_instance_uid)
    )
    return tuple((str(uid), str(fault)) for uid, fault in rows)


def list_instances(
    transaction: Transaction,
    pipeline: str,
    series_instance_uid: str,
    *,
    until: datetime | None = None,
) -> tuple[InstanceRef, ...]:
    """Return the instances of a series, by SOP Instance UID.

    Parameters
    ----------
    until : datetime, optional
        Received at that time or earlier: what an earlier revision may have held.
    """
    query = sa.select(instance).where(
        (instance.c.pipeline == pipeline) & (instance.c.series_instance_uid == series_instance_uid)
    )
    if until is not None:
        query = query.where(instance.c.received_at <= until)
    rows = transaction.execute(query.order_by(instance.c.sop_instance_uid)).mappings()
    return tuple(
        InstanceRef(**{name: row[name] for name in InstanceRef.__dataclass_fields__})
        for row in rows
    )


def list_digests(
    transaction: Transaction, pipeline: str, series_instance_uid: str
) -> dict[str, str]:
    """Return the digest of each instance of a series, by SOP Instance UID."""
    rows = transaction.execute(
        sa.select(instance.c.sop_instance_uid, instance.c.digest).where(
            (instance.c.pipeline == pipeline)
            & (instance.c.series_instance_uid == series_instance_uid)
        )
    )
    return {row.sop_instance_uid: row.digest for row in rows}


def find_instances(
    transaction: Transaction, pipeline: str, sop_instance_uids: Sequence[str]
) -> dict[str, InstanceRef]:
    """Return instances by SOP Instance UID, of those that are recorded."""
    found: dict[str, InstanceRef] = {}
    for begin in range(0, len(sop_instance_uids), _AT_ONCE):
        some = sop_instance_uids[begin : begin + _AT_ONCE]
        rows = transaction.execute(
            sa.select(instance).where(
                (instance.c.pipeline == pipeline) & instance.c.sop_instance_uid.in_(some)
            )
        ).mappings()
        for row in rows:
            found[row["sop_instance_uid"]] = InstanceRef(
                **{name: row[name] for name in InstanceRef.__dataclass_fields__}
            )
    return found


def list_keys(transaction: Transaction) -> frozenset[str]:
    """Return the spool keys of all recorded instances."""
    return frozenset(transaction.execute(sa.select(instance.c.key)).scalars())


def get_series(
    transaction: Transaction, pipeline: str, series_instance_uid: str
) -> SeriesRow | None:
    """Return one series, or None if it is unknown."""
    row = (
        transaction.execute(sa.select(series).where(_is_series(pipeline, series_instance_uid)))
        .mappings()
        .one_or_none()
    )
    return None if row is None else SeriesRow(**row)


def list_series(
    transaction: Transaction,
    *,
    state: str | None = None,
    series_instance_uid: str | None = None,
    pipeline: str | None = None,
    since: datetime | None = None,
    limit: int | None = 1000,
) -> tuple[SeriesRow, ...]:
    """Return series, the latest first; all of them if `limit` is None.

    With `since` those an instance of which came at that time or later.
    """
    query = sa.select(series).order_by(series.c.last_received_at.desc()).limit(limit)
    if state is not None:
        query = query.where(series.c.state == state)
    if series_instance_uid is not None:
        query = query.where(series.c.series_instance_uid == series_instance_uid)
    if pipeline is not None:
        query = query.where(series.c.pipeline == pipeline)
    if since is not None:
        query = query.where(series.c.last_received_at >= since)
    return tuple(SeriesRow(**row) for row in transaction.execute(query).mappings())


def _is_series(pipeline: str, series_instance_uid: str) -> sa.ColumnElement[bool]:
    found: Any = (series.c.pipeline == pipeline) & (
        series.c.series_instance_uid == series_instance_uid
    )
    return found  # type: ignore[no-any-return]  # SQLAlchemy's & is Any to mypy
