"""Bringing the tables of a database up to date.  Loaded where they are of an older version."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util import CommandError

from dicomnode.database.create import lock_tables
from dicomnode.errors import StateError


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
            lock_tables(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        raise StateError(
            "the database was last used by a later version of dicomnode; run that one, or give "
            "this one a data_dir or database.url of its own"
        ) from error
