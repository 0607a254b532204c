"""Rows of what was received and not kept: ignored classes, other content under a known UID."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import reception_note
from dicomnode.database.upsert import insert_if_absent

_AT_ONCE: Final = 500
"""Databases limit how many values a query may name."""

NoteKind = Literal["ignored", "kept-first", "replaced", "refused"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoteRow:
    """A note.  `digest` is that of the content that was not kept, where it was looked at."""

    pipeline: str
    sop_instance_uid: str
    kind: str
    sop_class_uid: str
    digest: str | None
    calling_ae_title: str
    times: int
    first_at: datetime
    last_at: datetime


def add_note(
    transaction: Transaction,
    pipeline: str,
    *,
    kind: NoteKind,
    sop_class_uid: str,
    sop_instance_uid: str,
    digest: str | None,
    calling_ae_title: str,
    at: datetime,
) -> None:
    """Record that it happened, or happened again."""
    is_new = insert_if_absent(
        transaction,
        reception_note,
        pipeline=pipeline,
        sop_instance_uid=sop_instance_uid,
        kind=kind,
        sop_class_uid=sop_class_uid,
        digest=digest,
        calling_ae_title=calling_ae_title,
        times=1,
        first_at=at,
        last_at=at,
    )
    if not is_new:
        transaction.execute(
            sa.update(reception_note)
            .where(
                (reception_note.c.pipeline == pipeline)
                & (reception_note.c.sop_instance_uid == sop_instance_uid)
                & (reception_note.c.kind == kind)
            )
            .values(
                times=reception_note.c.times + 1,
                last_at=at,
                digest=digest,
                calling_ae_title=calling_ae_title,
            )
        )


def list_notes(
    transaction: Transaction, *, pipeline: str | None = None, limit: int = 1000
) -> tuple[NoteRow, ...]:
    """Return notes, the latest first."""
    query = sa.select(reception_note).order_by(reception_note.c.last_at.desc()).limit(limit)
    if pipeline is not None:
        query = query.where(reception_note.c.pipeline == pipeline)
    return tuple(NoteRow(**row) for row in transaction.execute(query).mappings())


def find_notes(
    transaction: Transaction, pipeline: str, sop_instance_uids: Iterable[str]
) -> dict[str, frozenset[str]]:
    """Return the kinds of notes by SOP Instance UID, of those that have any."""
    found: dict[str, set[str]] = {}
    wanted = tuple(sop_instance_uids)
    for begin in range(0, len(wanted), _AT_ONCE):
        some = wanted[begin : begin + _AT_ONCE]
        rows = transaction.execute(
            sa.select(reception_note.c.sop_instance_uid, reception_note.c.kind).where(
                (reception_note.c.pipeline == pipeline)
                & reception_note.c.sop_instance_uid.in_(some)
            )
        )
        for uid, kind in rows:
            found.setdefault(uid, set()).add(kind)
    return {uid: frozenset(kinds) for uid, kinds in found.items()}
