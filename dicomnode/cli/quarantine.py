"""``dicomnode quarantine``: what was received and could not be used, and why."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dicomnode.cli.output import (
    ConfigOption,
    JsonOption,
    errors_as_exits,
    fact_table,
    facts,
    print_json,
    print_table,
)
from dicomnode.config import find_file, load
from dicomnode.database import open_database
from dicomnode.errors import StateError
from dicomnode.pipeline.release import release_instance
from dicomnode.spool.durable import read_chunks, write_durably
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.storage import open_storage

app = typer.Typer(no_args_is_help=True, help="Objects that were refused or unreadable.")


def _open(config: Path | None) -> Quarantine:
    settings = load(find_file(config))
    if settings.storage is None and not settings.data_dir.is_dir():
        raise StateError(f"no node has run with {settings.data_dir} yet")
    return open_storage(settings).quarantine


@app.command("list")
def list_(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List what lies in quarantine, the latest first."""
    with errors_as_exits():
        items = _open(config).list()
    if as_json:
        print_json([asdict(item) for item in items])
        return
    table = fact_table("id", "last seen", "count", "why")
    for item in items:
        table.add_row(item.id, item.last_seen, str(item.count), item.reason)
    print_table(table)


@app.command()
def show(
    identifier: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one object: why it is there, from whom it came."""
    with errors_as_exits():
        item = _open(config).get(identifier)
    if as_json:
        print_json(asdict(item))
        return
    facts.print(f"{item.id}\n  {item.reason}", markup=False)
    for name, value in item.facts.items():
        facts.print(f"  {name}: {value}", markup=False)
    facts.print(f"  {item.kept_bytes} of {item.size_bytes} bytes kept, came {item.count} times")


@app.command()
def release(
    identifier: Annotated[str, typer.Argument(metavar="ID")],
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FILE", help="Write the object there, and keep it here."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Take an object out: into the pipeline it was sent to, or with --to into a file."""
    with errors_as_exits():
        settings = load(find_file(config))
        storage = open_storage(settings)
        quarantine = storage.quarantine
        if to is not None:
            write_durably(to, read_chunks(quarantine.path(identifier)))
            facts.print(f"{identifier}: written to {to}", markup=False, soft_wrap=True)
            return
        database = open_database(settings.database.url, data_dir=settings.data_dir)
        try:
            ref = release_instance(quarantine, identifier, store=storage.store, database=database)
        finally:
            database.close()
        facts.print(
            f"{identifier}: instance {ref.sop_instance_uid} is in its series again, which "
            "a running node closes after its quiet time",
            markup=False,
            soft_wrap=True,
        )
