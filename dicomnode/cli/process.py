"""``dicomnode process``: the pipeline on files or folders, for people without a PACS at hand."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from dicomnode.cli.findings import findings_lines, seconds_table
from dicomnode.cli.output import (
    ConfigOption,
    Exit,
    JsonOption,
    errors_as_exits,
    facts,
    print_json,
    talk,
)
from dicomnode.config import find_file, load
from dicomnode.errors import ConfigError
from dicomnode.imaging.files import FoundFiles, find_series
from dicomnode.node import open_triton
from dicomnode.pipeline.offline import SeriesOutcome, analyze_files
from dicomnode.pipeline.setup import PipelineSetup, build_setups


def process(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files or folders.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.")],
    config: ConfigOption = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", metavar="NAME", help="Which one; by default the first."),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Analyze CT series in files or folders: SEG, SR, overlay PNG and findings.json, no network.

    Results of a single series go to DIR itself, those of several to a subfolder each, named by
    Series Instance UID.
    """
    with errors_as_exits(), ExitStack() as stack:
        settings = load(find_file(config))
        setup = _choose(build_setups(settings), pipeline)
        found = find_series(paths)
        _tell_left_out(found)
        if not found.series:
            talk.print("no CT series was found", markup=False)
            raise typer.Exit(Exit.FAILED)
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="dicomnode-")))
        outcomes: list[SeriesOutcome] = []
        with talk.status("starting the inference server") as status:
            client = open_triton(settings.model_copy(update={"data_dir": scratch}), stack)
            client.wait_ready(
                setup.triton_models, deadline_seconds=settings.inference.startup_seconds
            )
            for number, (uid, series) in enumerate(found.series.items(), start=1):

                def say(stage: str, at: str = f"series {number} of {len(found.series)}") -> None:
                    status.update(f"{at}: {stage}")

                folder = out if len(found.series) == 1 else out / uid
                outcomes.append(analyze_files(series, setup, client, folder=folder, on_stage=say))
    if as_json:
        print_json([_as_json(outcome) for outcome in outcomes])
    else:
        for outcome in outcomes:
            _print(outcome)
    if all(outcome.summary is None for outcome in outcomes):
        raise typer.Exit(Exit.FAILED)


def _choose(setups: dict[str, PipelineSetup], name: str | None) -> PipelineSetup:
    if name is None:
        return next(iter(setups.values()))
    if name not in setups:
        known = ", ".join(setups)
        raise ConfigError((f"--pipeline: no pipeline is called {name!r}; known are {known}",))
    return setups[name]


def _tell_left_out(found: FoundFiles) -> None:
    """Name what is left out: all of a few, else how many for each reason."""
    if len(found.left_out) <= 10:
        for each in found.left_out:
            talk.print(f"left out {each.path}: {each.reason}", markup=False, soft_wrap=True)
        return
    reasons: dict[str, int] = {}
    for each in found.left_out:
        reasons[each.reason] = reasons.get(each.reason, 0) + 1
    for reason, count in reasons.items():
        talk.print(f"left out {count} files: {reason}", markup=False, soft_wrap=True)


def _as_json(outcome: SeriesOutcome) -> dict[str, object]:
    return {
        "series_instance_uid": outcome.series_instance_uid,
        "state": "refused" if outcome.summary is None else "done",
        "reason": outcome.reason,
        "sentence": outcome.sentence,
        "folder": str(outcome.folder),
        "files": list(outcome.files),
        "seconds": outcome.seconds,
        "findings": outcome.summary,
    }


def _print(outcome: SeriesOutcome) -> None:
    facts.print(f"series {outcome.series_instance_uid}", markup=False)
    if outcome.summary is None:
        facts.print(f"  not analyzed: {outcome.sentence}", markup=False, soft_wrap=True)
    else:
        for line in findings_lines(outcome.summary):
            facts.print(f"  {line}", markup=False, soft_wrap=True)
    for name in outcome.files:
        facts.print(f"  {outcome.folder / name}", markup=False, soft_wrap=True)
    facts.print(seconds_table(outcome.seconds))
