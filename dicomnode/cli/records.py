"""Opening a node's records from a command, beside the running node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomnode.cli.output import errors_as_exits
from dicomnode.config import Config, find_file, load
from dicomnode.database import Database, open_database
from dicomnode.database.connect import SQLITE_FILE
from dicomnode.errors import StateError


@contextmanager
def open_records(config: Path | None) -> Iterator[tuple[Config, Database]]:
    """Open the database that the configuration names; errors end the command.

    Raises
    ------
    typer.Exit
        If there is no database yet, or it cannot be opened.
    """
    with errors_as_exits():
        settings = load(find_file(config))
        if settings.database.url == "sqlite" and not (settings.data_dir / SQLITE_FILE).is_file():
            raise StateError(f"no node has run with {settings.data_dir} yet")
        database = open_database(settings.database.url, data_dir=settings.data_dir)
        try:
            yield settings, database
        finally:
            database.close()
