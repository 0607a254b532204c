"""Opening a node's records from a command, beside the running node, and choosing among them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.output import errors_as_exits
from dicomnode.config import Config, find_file, load
from dicomnode.database import Database, open_database
from dicomnode.database.connect import SQLITE_FILE
from dicomnode.errors import StateError

PipelineOption = Annotated[
    str | None, typer.Option("--pipeline", metavar="NAME", help="Only of that pipeline.")
]
HoursOption = Annotated[
    float | None, typer.Option("--hours", min=0.0, help="Only of the last so many hours.")
]


def since(hours: float | None) -> datetime | None:
    """Return when the last so many hours began; None for ever."""
    return None if hours is None else datetime.now(UTC) - timedelta(hours=hours)


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
