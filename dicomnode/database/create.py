"""Making the tables of a database that has none.  Those of an older version are `migrate`'s."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from dicomnode.database.tables import metadata

_MIGRATION_LOCK: Final = 0x6469636F6D6E6F64
"""Key of the advisory lock under which the tables of PostgreSQL are made and changed."""

_VERSION_LENGTH: Final = 32
"""Alembic's."""


def lock_tables(connection: sa.Connection) -> None:
    """Be alone: several roles may start at once, each bringing the tables up to date.

    Parameters
    ----------
    connection : Connection
        In a transaction of its own, whose end ends the lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
    else:
        # The driver begins no transaction before statements that define tables.
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def create_tables(engine: sa.Engine, *, version_table: str, version: str) -> bool:
    """Make all tables as the last migration leaves them, in one transaction, and note that.

    Parameters
    ----------
    engine : Engine
    version_table : str
        What is noted, and where others look first.
    version : str
        Which migration was the last.

    Returns
    -------
    bool
        False if there are tables, of whatever version: nothing was done.

    Raises
    ------
    sqlalchemy.exc.SQLAlchemyError
        If they cannot be made.
    """
    noted = sa.Table(
        version_table,
        sa.MetaData(),
        sa.Column("version_num", sa.String(_VERSION_LENGTH), nullable=False),
        sa.PrimaryKeyConstraint("version_num", name=f"{version_table}_pkc"),
    )
    with engine.begin() as connection:
        lock_tables(connection)
        if sa.inspect(connection).has_table(version_table):
            return False
        metadata.create_all(connection, checkfirst=False)
        noted.create(connection, checkfirst=False)
        connection.execute(sa.insert(noted).values(version_num=version))
    return True
