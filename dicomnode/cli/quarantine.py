"""``dicomnode quarantine``: what was received and could not be used, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dicomnode.cli.output import (
    ConfigOption,
    JsonOption,
    errors_as_exits,
    fact_table,
    facts,
    print_json,
)
from dicomnode.config import find_file, load
from dicomnode.spool.quarantine import Quarantine

app = typer.Typer(no_args_is_help=True, help="Objects that were refused or unreadable.")


@app.command("list")
def list_(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List what lies in quarantine, the latest first."""
    with errors_as_exits():
        items = Quarantine(load(find_file(config)).data_dir).list()
    if as_json:
        print_json([asdict(item) for item in items])
        return
    table = fact_table("id", "last seen", "count", "why")
    for item in items:
        table.add_row(item.id, item.last_seen, str(item.count), item.reason)
    facts.print(table)


@app.command()
def show(
    identifier: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one object: why it is there, from whom it came."""
    with errors_as_exits():
        item = Quarantine(load(find_file(config)).data_dir).get(identifier)
    if as_json:
        print_json(asdict(item))
        return
    facts.print(f"{item.id}\n  {item.reason}", markup=False)
    for name, value in item.facts.items():
        facts.print(f"  {name}: {value}", markup=False)
    facts.print(f"  {item.kept_bytes} of {item.size_bytes} bytes kept, came {item.count} times")
