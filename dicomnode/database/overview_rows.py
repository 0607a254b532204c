"""Rows for people: series with the latest job on each, chosen and searched, page by page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.job_rows import DeliveryRow, JobRow
from dicomnode.database.series_rows import SeriesRow
from dicomnode.database.tables import delivery, instance, job, series

SHOWN_STATES: Final = (
    "receiving",
    "held",
    "closed",
    "queued",
    "running",
    "waiting",
    "done",
    "refused",
    "not_selected",
    "superseded",
    "failed",
    "cancelled",
)
"""A series that is open is ``receiving``; one with a job has the job's state."""

_SEARCHABLE: Final = re.compile(r"[A-Za-z0-9._:-]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewRow:
    """A series, the latest job on it, and how its deliveries stand.

    Attributes
    ----------
    state : str
        Of `SHOWN_STATES`.
    sop_class_uid : str or None
        Of one of its instances; None where they were pruned.
    """

    series: SeriesRow
    state: str
    sop_class_uid: str | None
    job: JobRow | None
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which series are wanted; None and False leave a question out.

    Attributes
    ----------
    state : str or None
        Of `SHOWN_STATES`.
    attention : bool
        Only those that a person should look at: failed, held, or with a parked delivery.
    pipeline, calling_ae_title : str or None
    text : str or None
        Part of a Series or Study Instance UID or of a job's id, or a whole SOP Instance UID.
    since : datetime or None
        An instance came at that time or later.
    """

    state: str | None = None
    attention: bool = False
    pipeline: str | None = None
    calling_ae_title: str | None = None
    text: str | None = None
    since: datetime | None = None


def list_overview(
    transaction: Transaction, choice: Choice, *, limit: int, offset: int = 0
) -> tuple[OverviewRow, ...]:
    """Return series with what became of them, the latest first."""
    latest = (
        sa.select(job.c.id)
        .where(
            (job.c.pipeline == series.c.pipeline)
            & (job.c.series_instance_uid == series.c.series_instance_uid)
        )
        .order_by(job.c.created_at.desc(), job.c.id)
        .limit(1)
        .correlate(series)
        .scalar_subquery()
    )
    sop_class = (
        sa.select(instance.c.sop_class_uid)
        .where(
            (instance.c.pipeline == series.c.pipeline)
            & (instance.c.series_instance_uid == series.c.series_instance_uid)
        )
        .limit(1)
        .correlate(series)
        .scalar_subquery()
    )
    state = sa.case(
        (series.c.state == "open", "receiving"),
        (series.c.state == "held", "held"),
        (job.c.id.is_(None), "closed"),
        else_=job.c.state,
    )
    query = (
        sa.select(
            state.label("shown_state"),
            sop_class.label("shown_class"),
            *(each.label(f"series_{each.name}") for each in series.c),
            *(each.label(f"job_{each.name}") for each in job.c),
        )
        .select_from(series.outerjoin(job, job.c.id == latest))
        .order_by(series.c.last_received_at.desc(), series.c.pipeline, series.c.series_instance_uid)
        .limit(limit)
        .offset(offset)
    )
    for condition in _conditions(choice, state):
        query = query.where(condition)
    rows = transaction.execute(query).mappings().all()
    ids = [row["job_id"] for row in rows if row["job_id"] is not None]
    deliveries = _deliveries(transaction, ids)
    return tuple(
        OverviewRow(
            series=SeriesRow(**_part(row, "series_")),
            state=row["shown_state"],
            sop_class_uid=row["shown_class"],
            job=None if row["job_id"] is None else JobRow(**_part(row, "job_")),
            deliveries=tuple(deliveries.get(row["job_id"], ())),
        )
        for row in rows
    )


def list_senders(transaction: Transaction) -> tuple[str, ...]:
    """Return all calling AE titles that brought series."""
    rows = transaction.execute(
        sa.select(series.c.calling_ae_title).distinct().order_by(series.c.calling_ae_title)
    )
    return tuple(str(row[0]) for row in rows)


def _conditions(choice: Choice, state: Any) -> list[Any]:
    conditions: list[Any] = []
    if choice.state is not None:
        conditions.append(state == choice.state)
    if choice.pipeline is not None:
        conditions.append(series.c.pipeline == choice.pipeline)
    if choice.calling_ae_title is not None:
        conditions.append(series.c.calling_ae_title == choice.calling_ae_title)
    if choice.since is not None:
        conditions.append(series.c.last_received_at >= choice.since)
    if choice.attention:
        parked = sa.exists().where((delivery.c.job_id == job.c.id) & (delivery.c.state == "parked"))
        conditions.append(sa.or_(state.in_(("failed", "held")), parked))
    if choice.text:
        conditions.append(_matches(choice.text.strip()))
    return conditions


def _matches(text: str) -> sa.ColumnElement[bool]:
    if not _SEARCHABLE.fullmatch(text):
        return sa.false()
    holds = sa.exists().where(
        (instance.c.sop_instance_uid == text)
        & (instance.c.pipeline == series.c.pipeline)
        & (instance.c.series_instance_uid == series.c.series_instance_uid)
    )
    return sa.or_(
        series.c.series_instance_uid.contains(text, autoescape=True),
        series.c.study_instance_uid.contains(text, autoescape=True),
        job.c.id.contains(text, autoescape=True),
        holds,
    )


def _deliveries(transaction: Transaction, ids: Sequence[str]) -> dict[str, list[DeliveryRow]]:
    found: dict[str, list[DeliveryRow]] = {}
    if ids:
        query = (
            sa.select(delivery)
            .where(delivery.c.job_id.in_(ids))
            .order_by(delivery.c.job_id, delivery.c.destination)
        )
        for row in transaction.execute(query).mappings():
            found.setdefault(row["job_id"], []).append(DeliveryRow(**row))
    return found


def _part(row: Any, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)
    }
