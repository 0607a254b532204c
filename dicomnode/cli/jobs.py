"""``dicomnode jobs``: what the node works on; trying again and giving up."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

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
from dicomnode.database.delivery_rows import list_attempts, list_commitments
from dicomnode.database.job_rows import get_job, list_deliveries, list_jobs
from dicomnode.engine import JobQueue
from dicomnode.model.work import StepRecord
from dicomnode.pipeline.identifiers import analysis_workflow_id
from dicomnode.pipeline.steering import cancel_job, dismiss_job, retry_job, send_job

app = typer.Typer(no_args_is_help=True, help="Analyses and deliveries.")

JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="As `jobs list` prints it.")]


@app.command("list")
def list_(
    config: ConfigOption = None,
    state: Annotated[str | None, typer.Option("--state", help="Only jobs in that state.")] = None,
    series: Annotated[
        str | None, typer.Option("--series", metavar="UID", help="Only of that series.")
    ] = None,
    pipeline: PipelineOption = None,
    delivery: Annotated[
        str | None,
        typer.Option(
            "--delivery", metavar="STATE", help="Only with a delivery in that state: parked, ..."
        ),
    ] = None,
    hours: HoursOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List jobs, the latest first."""
    with open_records(config) as (_settings, database), database.begin() as transaction:
        rows = list_jobs(
            transaction,
            state=state,
            series_instance_uid=series,
            pipeline=pipeline,
            delivery_state=delivery,
            since=since(hours),
        )
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    table = fact_table("job", "state", "seconds", "why")
    for row in rows:
        table.add_row(row.id, row.state, f"{sum(row.seconds.values()):.1f}", row.sentence or "")
    print_table(table)


@app.command()
def show(job_id: JobArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show a job: state, every step with its time, every delivery attempt in words, its files."""
    with open_records(config) as (_settings, database):
        with database.begin() as transaction:
            job = get_job(transaction, job_id)
            deliveries = list_deliveries(transaction, job_id)
            attempts = list_attempts(transaction, job_id)
            commitments = list_commitments(transaction, job_id)
        if job is None:
            talk.print(f"no job {job_id}", markup=False)
            raise typer.Exit(Exit.FAILED)
        queue = JobQueue(database)
        try:
            steps = [
                (number, step)
                for number in range(1, job.attempt + 1)
                for step in queue.steps(analysis_workflow_id(job_id, number))
            ]
        finally:
            queue.close()
    if as_json:
        print_json(
            {
                **asdict(job),
                "steps": [{"attempt": number, **asdict(step)} for number, step in steps],
                "deliveries": [asdict(each) for each in deliveries],
                "attempts": [asdict(each) for each in attempts],
                "commitments": [asdict(each) for each in commitments],
            }
        )
        return
    why = f": {job.sentence}" if job.sentence else ""
    lines = [f"{job.id}", f"  {job.state}{why}"]
    lines += [_step_line(number, step) for number, step in steps]
    lines += [f"  {stage}: {seconds:.2f} s" for stage, seconds in job.seconds.items()]
    lines += [
        f"  asked {each['name']} {each['version']} on {each['server']} at {each['asked_at']}, "
        f"manifest {each['manifest_digest'][:12]}"
        for each in job.models
    ]
    lines += [f"  {name}: {key}" for name, key in job.files.items()]
    for each in deliveries:
        lines.append(
            f"  to {each.destination}: {each.state}, attempt {each.attempts}, {each.words or ''}"
        )
        lines += [
            f"    attempt {row.attempt} at {_at(row.at)}, {row.seconds:.2f} s: "
            f"{row.outcome}: {row.words or ''}"
            for row in attempts
            if row.destination == each.destination
        ]
        lines += [
            f"    storage commitment asked at {_at(row.asked_at)}: {row.state}"
            for row in commitments
            if row.destination == each.destination
        ]
    facts.print("\n".join(lines), markup=False, soft_wrap=True)


def _step_line(attempt: int, step: StepRecord) -> str:
    took = ""
    if step.began_at is not None and step.ended_at is not None:
        took = f", {(step.ended_at - step.began_at).total_seconds():.2f} s"
    again = f" (attempt {attempt})" if attempt > 1 else ""
    at = "?" if step.ended_at is None else _at(step.ended_at)
    return f"  step {step.name}{again}: ended {at}{took}"


def _at(when: datetime) -> str:
    return when.isoformat(sep=" ", timespec="seconds")


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
    """Give a job up; a model that is computing for it is stopped."""
    with open_records(config) as (_settings, database):
        queue = JobQueue(database)
        try:
            facts.print(cancel_job(database, queue, job_id), markup=False)
        finally:
            queue.close()


@app.command()
def send(
    job_id: JobArgument,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION", help="As configured.")],
    config: ConfigOption = None,
) -> None:
    """Send a job's results to a destination, one of its pipeline's or another, also once more."""
    with open_records(config) as (settings, database):
        queue = JobQueue(database)
        try:
            done = send_job(
                database, queue, job_id, destination, destinations=settings.destinations
            )
            facts.print(done, markup=False)
        finally:
            queue.close()


@app.command()
def dismiss(job_id: JobArgument, config: ConfigOption = None) -> None:
    """Say that nothing more is owed: what failed for good may then be pruned."""
    with open_records(config) as (_settings, database):
        facts.print(dismiss_job(database, job_id), markup=False)
