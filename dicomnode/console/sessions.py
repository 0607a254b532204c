"""Sessions of people who signed in: a secret in their browser, its digest in the database.

Every console on the database knows them, and each can end them.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from dicomnode.database import Database
from dicomnode.database.session_rows import (
    close_session,
    get_session,
    open_session,
    prune_sessions,
    touch_session,
)

_TOUCH: Final = timedelta(seconds=30)


class Sessions:
    """Opens, finds and ends sessions.

    Parameters
    ----------
    database : Database
    longest : timedelta
        A session is over so long after it was opened.
    idle : timedelta
        And so long after it was last used.
    clock : callable
        Aware now.
    """

    def __init__(
        self,
        database: Database,
        *,
        longest: timedelta,
        idle: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._longest = longest
        self._idle = idle
        self._clock = clock

    def open(self, name: str) -> str:
        """Open a session; return its secret."""
        secret = secrets.token_urlsafe(32)
        now = self._clock()
        with self._database.begin() as transaction:
            prune_sessions(
                transaction, created_before=now - self._longest, seen_before=now - self._idle
            )
            open_session(transaction, _digest(secret), name, at=now)
        return secret

    def find(self, secret: str) -> str | None:
        """Return who has the session of a secret; None if there is none, or it is over."""
        now = self._clock()
        digest = _digest(secret)
        with self._database.begin() as transaction:
            row = get_session(transaction, digest)
            if (
                row is None
                or row.created_at + self._longest < now
                or row.seen_at + self._idle < now
            ):
                return None
            if row.seen_at + _TOUCH < now:
                touch_session(transaction, digest, at=now)
        return row.name

    def close(self, secret: str) -> None:
        """End a session."""
        with self._database.begin() as transaction:
            close_session(transaction, _digest(secret))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
