"""Rows of console sessions: who is signed in, since when, last seen when.  No secrets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from dicomnode.database.connect import Transaction
from dicomnode.database.tables import console_session


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A session.  `digest` is the SHA-256 of its secret."""

    digest: str
    name: str
    created_at: datetime
    seen_at: datetime


def open_session(transaction: Transaction, digest: str, name: str, *, at: datetime) -> None:
    """Record that somebody signed in."""
    transaction.execute(
        sa.insert(console_session).values(digest=digest, name=name, created_at=at, seen_at=at)
    )


def get_session(transaction: Transaction, digest: str) -> SessionRow | None:
    """Return a session, or None if there is none."""
    row = (
        transaction.execute(sa.select(console_session).where(console_session.c.digest == digest))
        .mappings()
        .one_or_none()
    )
    return None if row is None else SessionRow(**row)


def touch_session(transaction: Transaction, digest: str, *, at: datetime) -> None:
    """Record that a session was used."""
    transaction.execute(
        sa.update(console_session).where(console_session.c.digest == digest).values(seen_at=at)
    )


def close_session(transaction: Transaction, digest: str) -> None:
    """Forget a session."""
    transaction.execute(sa.delete(console_session).where(console_session.c.digest == digest))


def prune_sessions(
    transaction: Transaction, *, created_before: datetime, seen_before: datetime
) -> None:
    """Forget the sessions that are over."""
    transaction.execute(
        sa.delete(console_session).where(
            (console_session.c.created_at < created_before)
            | (console_session.c.seen_at < seen_before)
        )
    )
