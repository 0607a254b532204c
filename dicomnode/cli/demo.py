"""``dicomnode demo``: shows the main job on a synthetic chest CT."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dicomnode.cli.findings import findings_lines, seconds_table
from dicomnode.cli.output import JsonOption, errors_as_exits, facts, print_json, talk
from dicomnode.demo.run import run_demo


def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where all files go.")] = Path(
        "demo-out"
    ),
    deadline_seconds: Annotated[
        float, typer.Option("--deadline", min=1.0, help="Longest wait for results, in seconds.")
    ] = 300.0,
    *,
    as_json: JsonOption = False,
) -> None:
    """Send a synthetic chest CT through a node of its own and show what comes out."""
    begin = time.perf_counter()
    with errors_as_exits():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=talk, transient=True) as progress:
            task = progress.add_task("demo", total=None)

            def tell(sentence: str) -> None:
                progress.console.print(sentence, markup=False)
                progress.update(task, description=sentence)

            def advance(sent: int, total: int) -> None:
                progress.update(task, completed=sent, total=total)

            result = run_demo(out, deadline_seconds=deadline_seconds, tell=tell, advance=advance)
    total = time.perf_counter() - begin
    if as_json:
        print_json(
            {
                "findings": result.summary,
                "files": [str(path) for path in result.files],
                "seconds": {**result.seconds, "total": round(total, 2)},
            }
        )
        return
    facts.print()
    for line in findings_lines(result.summary):
        facts.print(line, markup=False)
    facts.print()
    facts.print(seconds_table({**result.seconds, "total": total}))
    facts.print()
    for path in (*result.files, out / "ct"):
        facts.print(str(path), markup=False, soft_wrap=True)
    facts.print("Research use only. Not for diagnosis.")
