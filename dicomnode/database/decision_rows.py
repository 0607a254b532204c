"""Rows of selection decisions: what the rules said of each revision of a series."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import decision, series
from dicomnode.model.selection import Decision, RuleOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """A decision as recorded."""

    pipeline: str
    series_instance_uid: str
    revision: int
    decision: Decision
    decided_at: datetime


def record_decision(
    transaction: Transaction,
    pipeline: str,
    series_instance_uid: str,
    revision: int,
    made: Decision,
) -> None:
    """Record what the rules said; a decision on the same revision is replaced."""
    key = (
        (decision.c.pipeline == pipeline)
        & (decision.c.series_instance_uid == series_instance_uid)
        & (decision.c.revision == revision)
    )
    transaction.execute(sa.delete(decision).where(key))
    transaction.execute(
        sa.insert(decision).values(
            pipeline=pipeline,
            series_instance_uid=series_instance_uid,
            revision=revision,
            is_selected=made.is_selected,
            outcomes=[asdict(each) for each in made.outcomes],
            # JSON has no infinity.
            rank=[each if math.isfinite(each) else None for each in made.rank],
            decided_at=datetime.now(UTC),
        )
    )


def list_decisions(transaction: Transaction, series_instance_uid: str) -> tuple[DecisionRow, ...]:
    """Return the decisions on a series, the latest revision first."""
    rows = transaction.execute(
        sa.select(decision)
        .where(decision.c.series_instance_uid == series_instance_uid)
        .order_by(decision.c.revision.desc(), decision.c.pipeline)
    ).mappings()
    return tuple(_row(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyMember:
    """Another series of a study, and the decision on its latest revision, if there is one."""

    series_instance_uid: str
    state: str
    last_received_at: datetime
    decision: Decision | None


def list_study(
    transaction: Transaction, pipeline: str, series_instance_uid: str
) -> tuple[StudyMember, ...]:
    """Return all series of the study that a series is of, in one pipeline, itself among them."""
    study = (
        sa.select(series.c.study_instance_uid)
        .where(
            (series.c.pipeline == pipeline) & (series.c.series_instance_uid == series_instance_uid)
        )
        .scalar_subquery()
    )
    rows = transaction.execute(
        sa.select(series, decision.c.outcomes, decision.c.rank)
        .outerjoin(
            decision,
            (decision.c.pipeline == series.c.pipeline)
            & (decision.c.series_instance_uid == series.c.series_instance_uid)
            & (decision.c.revision == series.c.revision),
        )
        .where((series.c.pipeline == pipeline) & (series.c.study_instance_uid == study))
    ).mappings()
    return tuple(
        StudyMember(
            series_instance_uid=row["series_instance_uid"],
            state=row["state"],
            last_received_at=row["last_received_at"],
            decision=None if row["outcomes"] is None else _decision(row),
        )
        for row in rows
    )


def _row(row: Any) -> DecisionRow:
    return DecisionRow(
        pipeline=row["pipeline"],
        series_instance_uid=row["series_instance_uid"],
        revision=row["revision"],
        decision=_decision(row),
        decided_at=row["decided_at"],
    )


def _decision(row: Any) -> Decision:
    return Decision(
        outcomes=tuple(RuleOutcome(**each) for each in row["outcomes"]),
        rank=tuple(math.inf if each is None else float(each) for each in row["rank"]),
    )
