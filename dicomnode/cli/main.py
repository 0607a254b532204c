"""The command ``dicomnode``: which commands there are and how they are grouped."""

from __future__ import annotations

from typing import Annotated

import typer

from dicomnode import __version__, log
from dicomnode.cli import (
    access,
    config,
    conformance,
    database,
    demo,
    echo,
    jobs,
    models,
    process,
    quarantine,
    received,
    roles,
    send,
    series,
    serve,
)
from dicomnode.cli.output import facts

app = typer.Typer(
    name="dicomnode",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold what belongs to a patient
    help="A DICOM node that runs Triton models on CT series and answers with SEG and SR. "
    "Research use only.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        facts.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and end."),
    ] = False,
) -> None:
    """Take the options that stand before every command."""
    # Commands that answer and end speak up only when something is wrong.
    log.configure(form="console", level="warning")


_RUN = "Run"
_TRY = "Try"
_ASK = "Ask and steer a node"
_CHECK = "Check"

app.command(rich_help_panel=_RUN)(serve.serve)
app.command(rich_help_panel=_RUN)(roles.receive)
app.command(rich_help_panel=_RUN)(roles.work)
app.command(rich_help_panel=_RUN)(roles.console)
app.command(rich_help_panel=_TRY)(demo.demo)
app.command(rich_help_panel=_TRY)(process.process)
app.command(rich_help_panel=_TRY)(send.send)
app.command(rich_help_panel=_TRY)(echo.echo)
app.add_typer(series.app, name="series", rich_help_panel=_ASK)
app.add_typer(jobs.app, name="jobs", rich_help_panel=_ASK)
app.add_typer(quarantine.app, name="quarantine", rich_help_panel=_ASK)
app.add_typer(received.app, name="received", rich_help_panel=_ASK)
app.add_typer(config.app, name="config", rich_help_panel=_CHECK)
app.add_typer(database.app, name="database", rich_help_panel=_CHECK)
app.command(rich_help_panel=_CHECK)(access.password)
app.command(rich_help_panel=_CHECK)(access.token)
app.add_typer(models.app, name="models", rich_help_panel=_CHECK)
app.command(rich_help_panel=_CHECK)(conformance.conformance)


def main() -> None:
    """Run the command line."""
    app()
