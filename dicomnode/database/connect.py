"""Opening the database: driver, pragmas, migrations.  Tables and queries have their own modules."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from dicomnode.database.create import create_tables
from dicomnode.errors import StateError

Transaction = sa.Connection
"""An open transaction, handed through by stages that must write in the same one."""

SQLITE_FILE: Final = "dicomnode.sqlite"
"""The embedded database, within the data folder."""

_SQLITE_SINCE_PYTHON_312: Final = (3, 42)

VERSION_TABLE: Final = "dicomnode_version"
"""Says which migration was the last; the job engine keeps its own in the same database."""

LATEST_MIGRATION: Final = "8002"
"""What stands there when the tables are those of this version."""

CONNECT_ARGUMENTS: Final[dict[str, Any]] = {
    # A database that is cut off must be known to be so in seconds: a sender waits meanwhile, and
    # the kernel alone would wait a quarter of an hour for an answer and two for a sign of life.
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    # A process that hangs within a transaction, or whose machine does, must not keep its rows from
    # others who have taken its work over.
    "options": "-c idle_in_transaction_session_timeout=20s",
}
"""For every connection to PostgreSQL."""


@dataclass(frozen=True, slots=True)
class Database:
    """An open database.

    Attributes
    ----------
    engine : sqlalchemy.Engine
        Shared by our tables and the job engine's.
    url : str
        As SQLAlchemy has it; with the password, so never shown.
    lease_folder : Path or None
        Where liveness leases of processes lie when the database is a local file.
    """

    engine: sa.Engine
    url: str
    lease_folder: Path | None

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        """Open a transaction: committed at the end, rolled back on an exception."""
        with self.engine.begin() as connection:
            yield connection

    def ping(self) -> str | None:
        """Ask the database; return None if it answers, else the kind of trouble."""
        try:
            with self.engine.connect() as connection:
                connection.execute(sa.select(1))
        except sa.exc.SQLAlchemyError as error:
            return f"the database does not answer ({type(error).__name__})"
        return None

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def open_database(url: str, *, data_dir: Path) -> Database:
    """Open the database and bring its tables up to date.

    Parameters
    ----------
    url : str
        ``sqlite`` for ``data_dir/dicomnode.sqlite``, or a PostgreSQL URL.
    data_dir : Path
        Made if missing.

    Raises
    ------
    StateError
        If the SQLite library is too old for this Python, or the tables cannot be brought up
        to date.
    """
    if url == "sqlite":
        data_dir.mkdir(parents=True, exist_ok=True)
        _check_sqlite()
        # Made of parts: a folder's name may hold what means something else in a URL.
        parts = sa.URL.create("sqlite", database=str(data_dir.resolve() / SQLITE_FILE))
        full_url = str(parts)
        engine = _sqlite_engine(parts)
        leases: Path | None = data_dir / "leases"
    else:
        full_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        engine = sa.create_engine(full_url, pool_pre_ping=True, connect_args=CONNECT_ARGUMENTS)
        leases = None
    _bring_up_to_date(engine)
    return Database(engine, full_url, leases)


def revision_of(database: Database) -> str:
    """Return which of our migrations was the last on the database."""
    with database.engine.connect() as connection:
        return str(_revision(connection))


def _check_sqlite() -> None:
    # On Python 3.12 and later the job engine asks SQLite for unixepoch('subsec').
    if sys.version_info >= (3, 12) and sqlite3.sqlite_version_info < _SQLITE_SINCE_PYTHON_312:
        wanted = ".".join(map(str, _SQLITE_SINCE_PYTHON_312))
        raise StateError(
            f"Python {sys.version_info.major}.{sys.version_info.minor} needs SQLite {wanted} or "
            f"later, found {sqlite3.sqlite_version}; use Python 3.11 or a PostgreSQL database"
        )


def _sqlite_engine(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url)

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # Writers queue at BEGIN instead of failing when they turn from reader to writer.
        connection.isolation_level = "IMMEDIATE"
        for pragma in (
            "journal_mode=wal",
            "synchronous=full",  # a committed row survives a power cut, as its file does
            "busy_timeout=30000",
            "foreign_keys=on",
        ):
            connection.execute(f"pragma {pragma}")

    return engine


def _bring_up_to_date(engine: sa.Engine) -> None:
    try:
        with engine.connect() as connection:
            found = _revision(connection)
        if found == LATEST_MIGRATION:
            return
        if found is None and create_tables(
            engine, version_table=VERSION_TABLE, version=LATEST_MIGRATION
        ):
            return
        # Alembic takes 150 ms and 6 MB to load: not for each command and process.
        from dicomnode.database.migrate import migrate  # noqa: PLC0415 - see above

        migrate(engine)
    except sa.exc.SQLAlchemyError as error:
        raise StateError(f"the database cannot be opened: {type(error).__name__}") from error


def _revision(connection: sa.Connection) -> str | None:
    """Return which migration was the last; None where there was none."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    version = sa.table(VERSION_TABLE, sa.column("version_num"))
    return connection.execute(sa.select(version.c.version_num)).scalar()
