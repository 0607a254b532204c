"""``dicomnode database``: what an operator does with the database itself, not with its rows."""

from __future__ import annotations

import typer

from dicomnode.cli.output import ConfigOption, JsonOption, errors_as_exits, facts, print_json
from dicomnode.config import find_file, load
from dicomnode.database import open_database, revision_of
from dicomnode.engine import JobQueue

app = typer.Typer(no_args_is_help=True, help="Look after the database.")


@app.command()
def upgrade(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Bring the tables up to date, as every start does; for a step before one.

    What has begun goes on: running nodes of the version before keep working meanwhile.
    """
    with errors_as_exits():
        settings = load(find_file(config))
        database = open_database(settings.database.url, data_dir=settings.data_dir)
        try:
            JobQueue(database).close()
            revision = revision_of(database)
        finally:
            database.close()
    if as_json:
        print_json({"revision": revision})
    else:
        facts.print(f"the database is at revision {revision}", markup=False)
