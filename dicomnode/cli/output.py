"""How commands speak and end: consoles, exit codes, JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from dicomnode.errors import (
    AssociationUnavailable,
    ConfigError,
    InferenceTimeout,
    InferenceUnavailable,
    ManifestInvalid,
    NodeError,
)

# No markup: brackets in a path or a sentence are brackets.  No line is broken for its length, so
# that identifiers can be copied and programs can read on.
facts: Final = Console(highlight=False, markup=False, soft_wrap=True)
"""Standard output: what the command was asked for."""

talk: Final = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
"""Standard error: progress, hints, errors."""

_ANY_WIDTH: Final = 10_000

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="TOML file; else DICOMNODE_CONFIG, else ./dicomnode.toml, else built-in defaults.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


class Exit(IntEnum):
    """Exit codes; the last two are those of sysexits.h."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 69
    CONFIG = 78


@contextmanager
def errors_as_exits() -> Iterator[None]:
    """Turn the node's errors into a sentence on standard error and an exit code."""
    try:
        yield
    except ConfigError as error:
        for fault in error.faults:
            talk.print(f"configuration: {fault}", markup=False, soft_wrap=True)
        raise typer.Exit(Exit.CONFIG) from error
    except NodeError as error:
        talk.print(str(error), markup=False, soft_wrap=True)
        raise typer.Exit(exit_code(error)) from error


def exit_code(error: NodeError) -> Exit:
    """Return the exit code that stands for an error."""
    if isinstance(error, ConfigError | ManifestInvalid):
        return Exit.CONFIG
    if isinstance(error, InferenceUnavailable | InferenceTimeout | AssociationUnavailable):
        return Exit.UNAVAILABLE
    return Exit.FAILED


def fact_table(*columns: str) -> Table:
    """Make a table whose cells wrap rather than lose their ends: identifiers are there to copy."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Print a table: folded on a terminal, else as wide as it is, for whoever greps it."""
    wide = Console(highlight=False, markup=False, width=_ANY_WIDTH)
    (facts if facts.is_terminal else wide).print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON, datetimes as ISO 8601."""
    json.dump(value, sys.stdout, indent=2, default=_plain)
    sys.stdout.write("\n")


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form here")
