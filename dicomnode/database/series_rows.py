"""Rows of series and their instances: recording what arrived, closing a revision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import instance, series
from dicomnode.database.upsert import insert_if_absent
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision, content_digest


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


@dataclass(frozen=True, slots=True)
class Recorded:
    """What recording an instance did.

    Attributes
    ----------
    is_new : bool
        False for a repeat, which changes nothing and opens nothing.
    sha256 : str
        Digest of the instance that the series holds; another one's if the sender used its
        SOP Instance UID before for different bytes.
    instance_count : int or None
        How many the series holds now; None for a repeat.
    """

    is_new: bool
    sha256: str
    instance_count: int | None = None


def record_instance(
    transaction: Transaction,
    pipeline: str,
    ref: InstanceRef,
    *,
    calling_ae_title: str,
    at: datetime,
) -> Recorded:
    """Record a stored instance and open its series.

    The first of two with one UID is kept, unless it turned out useless: then the second is.
    """
    is_new = insert_if_absent(
        transaction,
        instance,
        pipeline=pipeline,
        sop_instance_uid=ref.sop_instance_uid,
        series_instance_uid=ref.series_instance_uid,
        study_instance_uid=ref.study_instance_uid,
        sop_class_uid=ref.sop_class_uid,
        transfer_syntax_uid=ref.transfer_syntax_uid,
        sha256=ref.sha256,
        size_bytes=ref.size_bytes,
        key=ref.key,
        received_at=at,
    )
    if not is_new:
        kept = (instance.c.pipeline == pipeline) & (
            instance.c.sop_instance_uid == ref.sop_instance_uid
        )
        sha256, fault = transaction.execute(
            sa.select(instance.c.sha256, instance.c.fault).where(kept)
        ).one()
        if fault is None or sha256 == ref.sha256:
            return Recorded(is_new=False, sha256=sha256)
        transaction.execute(
            sa.update(instance)
            .where(kept)
            .values(
                transfer_syntax_uid=ref.transfer_syntax_uid,
                sha256=ref.sha256,
                size_bytes=ref.size_bytes,
                key=ref.key,
                received_at=at,
                fault=None,
            )
        )
        transaction.execute(
            sa.update(series)
            .where(_is_series(pipeline, ref.series_instance_uid))
            .values(state="open", last_received_at=at)
        )
        return Recorded(is_new=True, sha256=ref.sha256)
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
    return Recorded(is_new=True, sha256=ref.sha256, instance_count=count)


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
    transaction: Transaction, pipeline: str, series_instance_uid: str
) -> tuple[InstanceRef, ...]:
    """Return the instances of a series, by SOP Instance UID."""
    rows = transaction.execute(
        sa.select(instance)
        .where(
            (instance.c.pipeline == pipeline)
            & (instance.c.series_instance_uid == series_instance_uid)
        )
        .order_by(instance.c.sop_instance_uid)
    ).mappings()
    return tuple(
        InstanceRef(**{name: row[name] for name in InstanceRef.__dataclass_fields__})
        for row in rows
    )


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
