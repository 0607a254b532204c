"""``dicomnode received``: what was received and not kept, and what was asked to be committed."""

from __future__ import annotations

from dataclasses import asdict

import typer

from dicomnode.cli.output import ConfigOption, JsonOption, fact_table, facts, print_json
from dicomnode.cli.records import open_records
from dicomnode.database.commitment_rows import list_commitments
from dicomnode.database.note_rows import list_notes

app = typer.Typer(no_args_is_help=True, help="See what was not kept, and storage commitments.")


@app.command("notes")
def notes(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List instances that were ignored, or came again with other content; the latest first."""
    with open_records(config) as (_, database), database.begin() as transaction:
        rows = list_notes(transaction)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = fact_table("instance", "pipeline", "what", "SOP class", "from", "times", "last")
    for row in rows:
        table.add_row(
            row.sop_instance_uid,
            row.pipeline,
            row.kind,
            row.sop_class_uid,
            row.calling_ae_title,
            str(row.times),
            row.last_at.isoformat(sep=" ", timespec="seconds"),
        )
    facts.print(table)


@app.command("commitments")
def commitments(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List storage commitment requests and what became of them; the latest first."""
    with open_records(config) as (_, database), database.begin() as transaction:
        rows = list_commitments(transaction)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = fact_table("transaction", "pipeline", "from", "instances", "state", "words")
    for row in rows:
        table.add_row(
            row.transaction_uid,
            row.pipeline,
            row.calling_ae_title,
            str(len(row.instances)),
            row.state,
            row.words or "",
        )
    facts.print(table)
