"""``dicomnode series``: what was received, and what became of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from dicomnode.cli.decisions import decision_as_json, decision_table
from dicomnode.cli.output import (
    ConfigOption,
    Exit,
    JsonOption,
    fact_table,
    facts,
    print_json,
    print_table,
    talk,
)
from dicomnode.cli.records import HoursOption, PipelineOption, open_records, since
from dicomnode.database.decision_rows import list_decisions
from dicomnode.database.job_rows import list_deliveries, list_jobs
from dicomnode.database.series_rows import list_faults, list_series, release_held

app = typer.Typer(no_args_is_help=True, help="Series that were received.")


@app.command("list")
def list_(
    config: ConfigOption = None,
    state: Annotated[
        str | None, typer.Option("--state", help="Only those: open, closed or held.")
    ] = None,
    pipeline: PipelineOption = None,
    hours: HoursOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List series, the latest first."""
    with open_records(config) as (_settings, database), database.begin() as transaction:
        rows = list_series(
            transaction,
            state=state,
            pipeline=pipeline,
            since=since(hours),
        )
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = fact_table("series", "pipeline", "from", "state", "instances", "last received")
    for row in rows:
        last = row.last_received_at.isoformat(sep=" ", timespec="seconds")
        count = str(row.instance_count)
        table.add_row(
            row.series_instance_uid, row.pipeline, row.calling_ae_title, row.state, count, last
        )
    print_table(table)


@app.command()
def proceed(
    series_instance_uid: Annotated[str, typer.Argument(metavar="SERIES-UID")],
    config: ConfigOption = None,
) -> None:
    """Have a series analyzed that was held at its deadline; a running node notices by itself."""
    with open_records(config) as (_settings, database), database.begin() as transaction:
        released = release_held(transaction, series_instance_uid)
    if not released:
        talk.print(f"no series {series_instance_uid} is held", markup=False)
        raise typer.Exit(Exit.FAILED)
    facts.print(f"{series_instance_uid}: will be analyzed as it is", markup=False)


@app.command()
def show(
    series_instance_uid: Annotated[str, typer.Argument(metavar="SERIES-UID")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show a series: what came, how it was closed, what each analysis did or why it did not."""
    with open_records(config) as (_settings, database), database.begin() as transaction:
        rows = list_series(transaction, series_instance_uid=series_instance_uid)
        jobs = list_jobs(transaction, series_instance_uid=series_instance_uid)
        deliveries = {job.id: list_deliveries(transaction, job.id) for job in jobs}
        decisions = list_decisions(transaction, series_instance_uid)
        faults = {
            row.pipeline: list_faults(transaction, row.pipeline, series_instance_uid)
            for row in rows
        }
    if not rows:
        talk.print(f"no series {series_instance_uid} was received", markup=False)
        raise typer.Exit(Exit.FAILED)
    if as_json:
        print_json(
            {
                "series": [asdict(row) for row in rows],
                "jobs": [
                    {**asdict(job), "deliveries": [asdict(each) for each in deliveries[job.id]]}
                    for job in jobs
                ],
                "decisions": [
                    {
                        "pipeline": each.pipeline,
                        "revision": each.revision,
                        "decided_at": each.decided_at,
                        **decision_as_json(each.decision),
                    }
                    for each in decisions
                ],
                "faults": [
                    {"pipeline": pipeline, "sop_instance_uid": uid, "fault": fault}
                    for pipeline, found in faults.items()
                    for uid, fault in found
                ],
            }
        )
        return
    for row in rows:
        facts.print(
            f"{row.series_instance_uid}\n"
            f"  pipeline {row.pipeline}, {row.instance_count} instances from "
            f"{row.calling_ae_title or 'unknown'}, {row.state}"
            + (f" because: {row.closed_because}" if row.closed_because else ""),
            markup=False,
        )
        for uid, fault in faults[row.pipeline]:
            facts.print(f"  counts as missing: {uid}: {fault}", markup=False, soft_wrap=True)
    for made in decisions:
        facts.print(
            f"  revision {made.revision}, pipeline {made.pipeline}: "
            f"{'selected' if made.decision.is_selected else 'not selected'}",
            markup=False,
        )
        facts.print(decision_table(made.decision))
    for job in jobs:
        why = f": {job.sentence}" if job.sentence else ""
        facts.print(f"  revision {job.revision}: {job.state}{why}", markup=False)
        for each in deliveries[job.id]:
            facts.print(
                f"    to {each.destination}: {each.state}, attempt {each.attempts}"
                + (f" ({each.words})" if each.words else ""),
                markup=False,
            )
