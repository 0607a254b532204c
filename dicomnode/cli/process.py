"""``dicomnode process``: the pipeline on files or folders, for people without a PACS at hand."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from dicomnode.cli.decisions import print_explanations
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
from dicomnode.imaging.export import SUFFIXES, is_writable_as
from dicomnode.imaging.files import FoundFiles, find_series
from dicomnode.node.triton import open_triton
from dicomnode.pipeline.offline import (
    STAGES,
    Explanation,
    SeriesOutcome,
    analyze_files,
    explain_files,
)
from dicomnode.pipeline.setup import PipelineSetup, build_setups


def process(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", exists=True, help="Files or folders.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Where results go.")
    ] = None,
    config: ConfigOption = None,
    pipeline: Annotated[
        str | None,
        typer.Option("--pipeline", metavar="NAME", help="Which one; by default the first."),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Only say what selection and geometry rules say, and why."),
    ] = False,
    volume_out: Annotated[
        Path | None,
        typer.Option(
            "--volume-out", metavar="FILE", help="Write the volume as .nii.gz, .nii or .mha."
        ),
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Analyze CT series in files or folders: SEG, SR, overlay PNG and findings.json, no network.

    Results of a single series go to DIR itself, those of several to a subfolder each, named by
    Series Instance UID; so it is with FILE.
    """
    _check_options(out, volume_out, explain=explain)
    with errors_as_exits(), ExitStack() as stack:
        settings = load(find_file(config))
        setup = _choose(build_setups(settings), pipeline)
        found = find_series(paths)
        _tell_left_out(found)
        if not found.series:
            talk.print("no CT series was found", markup=False)
            raise typer.Exit(Exit.FAILED)
        if explain or volume_out is not None:
            explained = _explain(found, setup, volume_out)
            if explain or out is None:
                print_explanations(explained, as_json=as_json)
                _end_explained(explained)
        if out is None or explain:
            return
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="dicomnode-")))
        outcomes: list[SeriesOutcome] = []
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=talk) as progress:
            task = progress.add_task(
                "starting the inference server", total=len(found.series) * len(STAGES)
            )
            client = open_triton(settings.model_copy(update={"data_dir": scratch}), stack)
            client.wait_ready(
                setup.triton_models, deadline_seconds=settings.inference.startup_seconds
            )
            for number, (uid, series) in enumerate(found.series.items(), start=1):

                def say(stage: str, before: int = number - 1) -> None:
                    progress.update(
                        task,
                        completed=before * len(STAGES) + STAGES.index(stage),
                        description=f"series {before + 1} of {len(found.series)}: {stage}",
                    )

                folder = out if len(found.series) == 1 else out / uid
                outcomes.append(analyze_files(series, setup, client, folder=folder, on_stage=say))
                progress.update(task, completed=number * len(STAGES), description="done")
    _tell(outcomes, as_json=as_json)
    if all(outcome.summary is None for outcome in outcomes):
        raise typer.Exit(Exit.FAILED)


def _check_options(out: Path | None, volume_out: Path | None, *, explain: bool) -> None:
    if out is None and not explain and volume_out is None:
        raise typer.BadParameter("wanted --out, --volume-out or --explain, found none")
    if volume_out is not None and not is_writable_as(volume_out):
        raise typer.BadParameter(f"--volume-out: wanted a name ending in {', '.join(SUFFIXES)}")


def _explain(found: FoundFiles, setup: PipelineSetup, volume_out: Path | None) -> list[Explanation]:
    """Ask selection and geometry of every series, and write the volumes if wanted."""
    is_one = len(found.series) == 1
    return [
        explain_files(series, setup, volume_out=_own_name(volume_out, uid, is_one=is_one))
        for uid, series in found.series.items()
    ]


def _tell(outcomes: list[SeriesOutcome], *, as_json: bool) -> None:
    if as_json:
        print_json([_as_json(outcome) for outcome in outcomes])
        return
    for outcome in outcomes:
        _print(outcome)


def _choose(setups: dict[str, PipelineSetup], name: str | None) -> PipelineSetup:
    if name is None:
        return next(iter(setups.values()))
    if name not in setups:
        known = ", ".join(setups)
        raise ConfigError((f"--pipeline: no pipeline is called {name!r}; known are {known}",))
    return setups[name]


def _own_name(path: Path | None, uid: str, *, is_one: bool) -> Path | None:
    """Name the volume of one series of several by its UID."""
    return path if path is None or is_one else path.with_name(f"{uid}.{path.name}")


def _end_explained(explained: list[Explanation]) -> None:
    """Fail where nothing became a volume."""
    if all(each.shape_kji is None for each in explained):
        raise typer.Exit(Exit.FAILED)


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
        "state": _state(outcome),
        "reason": outcome.reason,
        "sentence": outcome.sentence,
        "folder": str(outcome.folder),
        "files": list(outcome.files),
        "seconds": outcome.seconds,
        "findings": outcome.summary,
    }


def _state(outcome: SeriesOutcome) -> str:
    if outcome.summary is not None:
        return "done"
    return "not_selected" if outcome.reason == "not_selected" else "refused"


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
