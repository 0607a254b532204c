"""Advisory locks of one PostgreSQL session, freed when the session or its process ends."""

from __future__ import annotations

import sqlalchemy as sa

from dicomnode.database.connect import CONNECT_ARGUMENTS, Database


class SessionLocks:
    """One connection, kept open, that holds locks.

    Parameters
    ----------
    database : Database
        On PostgreSQL; not through a pooler in transaction mode, which has no sessions.
    """

    def __init__(self, database: Database) -> None:
        self._engine = sa.create_engine(
            database.url,
            isolation_level="AUTOCOMMIT",
            poolclass=sa.pool.NullPool,
            connect_args={
                **CONNECT_ARGUMENTS,
                # A machine that vanishes must free its locks in seconds, not hours.
                "options": "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5"
                " -c tcp_keepalives_count=3",
            },
        )
        self._connection = self._engine.connect()

    def is_open(self) -> bool:
        """Ask whether the session lives; once it does not, its locks are free."""
        if self._connection.invalidated:
            return False  # as a statement found that failed
        try:
            self._connection.execute(sa.select(1))
        except sa.exc.DBAPIError:
            return False
        return True

    def reopen(self) -> None:
        """Begin a new session, without locks.

        Raises
        ------
        sqlalchemy.exc.DBAPIError
            If the database does not answer.
        """
        self._connection.invalidate()
        self._connection.close()
        self._connection = self._engine.connect()

    def try_lock(self, key: int) -> bool:
        """Take lock `key`, a signed 64-bit integer, if it is free."""
        asked = sa.select(sa.func.pg_try_advisory_lock(key))
        return bool(self._connection.execute(asked).scalar_one())

    def unlock(self, key: int) -> None:
        """Free lock `key`."""
        self._connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))

    def close(self) -> None:
        """End the session and with it every lock."""
        self._connection.close()
        self._engine.dispose()
