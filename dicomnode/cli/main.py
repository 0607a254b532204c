"""The command ``dicomnode``: which commands there are and how they are grouped."""

from __future__ import annotations

from typing import Annotated

import typer

from dicomnode import __version__, log
from dicomnode.cli.on_demand import Source, on_demand
from dicomnode.cli.output import facts

_RUN = "Run"
_TRY = "Try"
_ASK = "Ask and steer a node"
_CHECK = "Check"

_Commands = on_demand(
    {
        "serve": Source("serve:serve", _RUN),
        "receive": Source("receive:receive", _RUN),
        "work": Source("roles:work", _RUN),
        "console": Source("roles:console", _RUN),
        "demo": Source("demo:demo", _TRY),
        "process": Source("process:process", _TRY),
        "send": Source("send:send", _TRY),
        "echo": Source("echo:echo", _TRY),
        "series": Source("series:app", _ASK),
        "jobs": Source("jobs:app", _ASK),
        "quarantine": Source("quarantine:app", _ASK),
        "received": Source("received:app", _ASK),
        "config": Source("config:app", _CHECK),
        "database": Source("database:app", _CHECK),
        "password": Source("access:password", _CHECK),
        "token": Source("access:token", _CHECK),
        "models": Source("models:app", _CHECK),
        "conformance": Source("conformance:conformance", _CHECK),
    }
)

app = typer.Typer(
    name="dicomnode",
    cls=_Commands,
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


def main() -> None:
    """Run the command line."""
    app()
