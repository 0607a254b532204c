"""``dicomnode work``, ``console``: one role of a node in a process of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from dicomnode.cli.output import ConfigOption
from dicomnode.cli.serve import run_roles
from dicomnode.pipeline.enqueue import QUEUES


def _parse_queues(text: str) -> str:
    unknown = [each for each in text.split(",") if each not in QUEUES]
    if unknown:
        raise typer.BadParameter(
            f"no queue is called {unknown[0]!r}; known are {', '.join(QUEUES)}"
        )
    return text


def work(
    config: ConfigOption = None,
    queues: Annotated[
        str,
        typer.Option(
            "--queues",
            metavar="NAME,...",
            callback=_parse_queues,
            help=f"What to take: {', '.join(QUEUES)}.",
        ),
    ] = ",".join(QUEUES),
) -> None:
    """Analyze and deliver only. Several may share a database and a data folder."""
    run_roles(config, frozenset(("work",)), queues=tuple(queues.split(",")))


def console(config: ConfigOption = None) -> None:
    """Serve the console only."""
    run_roles(config, frozenset(("console",)))
