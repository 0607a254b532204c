"""``dicomnode jobs``: what the node works on; trying again and giving up."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from dicomnode.cli.output import ConfigOption, Exit, JsonOption, facts, print_json, talk
from dicomnode.cli.records import open_records
from dicomnode.database.job_rows import get_job, list_deliveries, list_jobs
from dicomnode.engine import JobQueue
from dicomnode.pipeline.steering import cancel_job, retry_job

app = typer.Typer(no_args_is_help=True, help="Analyses and deliveries.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="As `jobs list` prints it.")]


@app.command("list")
def list_(
    config: ConfigOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only jobs in that state.")] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the latest first."""
    with open_records(config) as (_settings, database), database.begin() as transaction:
        rows = list_jobs(transaction, state=state)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = Table("job", "state", "seconds", "why")
    for row in rows:
        table.add_row(row.id, row.state, f"{sum(row.seconds.values()):.1f}", row.sentence or "")
    facts.print(table)


@app.command()
def show(job_id: JobArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show a job: its state, the time of each stage, its files, its deliveries in words."""
    with open_records(config) as (_settings, database), database.begin() as transaction:
        job = get_job(transaction, job_id)
        deliveries = list_deliveries(transaction, job_id)
    if job is None:
        talk.print(f"no job {job_id}", markup=False)
        raise typer.Exit(Exit.FAILED)
    if as_json:
        print_json({**asdict(job), "deliveries": [asdict(each) for each in deliveries]})
        return
    why = f": {job.sentence}" if job.sentence else ""
    lines = [f"{job.id}", f"  {job.state}{why}"]
    lines += [f"  {stage}: {seconds:.2f} s" for stage, seconds in job.seconds.items()]
    lines += [f"  {name}: {key}" for name, key in job.files.items()]
    lines += [
        f"  to {each.destination}: {each.state}, attempt {each.attempts}, {each.words or ''}"
        for each in deliveries
    ]
    facts.print("\n".join(lines), markup=False)


@app.command()
def retry(job_id: JobArgument, config: ConfigOption = None) -> None:
    """Try again: the analysis if it failed, else every delivery that is parked."""
    with open_records(config) as (settings, database):
        queue = JobQueue(database)
        try:
            done = retry_job(database, queue, job_id, destinations=settings.destinations)
            facts.print(done, markup=False)
        finally:
            queue.close()


@app.command()
def cancel(job_id: JobArgument, config: ConfigOption = None) -> None:
    """Give a job up; it stops before its next step."""
    with open_records(config) as (_settings, database):
        queue = JobQueue(database)
        try:
            facts.print(cancel_job(database, queue, job_id), markup=False)
        finally:
            queue.close()
