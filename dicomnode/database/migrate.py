"""Bringing the tables of a database up to date.  Loaded where they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError

from dicomnode.errors import StateError

_MIGRATION_LOCK: Final = 0x6469636F6D6E6F64
"""Key of the advisory lock under which PostgreSQL is migrated."""


def migrate(engine: sa.Engine) -> None:
    """Run the migrations that the database has not seen yet, in one transaction.

    Raises
    ------
    StateError
        If the database was used by a later version.
    sqlalchemy.exc.SQLAlchemyError
        If it cannot be migrated.
    """
    config = AlembicConfig()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))  # configparser's escape
    try:
        with engine.begin() as connection:
            # Several roles may start at once, each bringing the tables up to date.
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            else:
                # The driver begins no transaction before statements that define tables.
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StateError(
            "the database was last used by a later version of dicomnode; run that one, or give "
            "this one a data_dir or database.url of its own"
        ) from error
