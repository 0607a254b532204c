"""The pipeline on files, without network, jobs or database: one series in, result files out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dicomnode.errors import SeriesError
from dicomnode.imaging.files import SeriesFiles
from dicomnode.inference.client import TritonClient
from dicomnode.pipeline import analysis
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.spool.durable import write_durably
from dicomnode.spool.workspace import Workspace


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesOutcome:
    """What became of a series.

    Attributes
    ----------
    series_instance_uid : str
    folder : Path
        Where the result files are.
    files : tuple of str
        Their names.
    summary : dict or None
        The content of ``findings.json``; None if the series was refused.
    reason, sentence : str or None
        Why it was refused, by stable name and in words.
    seconds : dict of str to float
        Time of each stage.
    """

    series_instance_uid: str
    folder: Path
    files: tuple[str, ...]
    summary: dict[str, Any] | None
    reason: str | None
    sentence: str | None
    seconds: dict[str, float]


def analyze_files(
    series: SeriesFiles,
    setup: PipelineSetup,
    client: TritonClient,
    *,
    folder: Path,
    on_stage: Callable[[str], None],
) -> SeriesOutcome:
    """Run every stage on the files of a series and write what comes out.

    Parameters
    ----------
    series : SeriesFiles
    setup : PipelineSetup
    client : TritonClient
    folder : Path
        Made if missing; files of the same names are replaced.
    on_stage : callable
        Told each stage as it begins.

    Raises
    ------
    InferenceError
        If a model cannot be asked or answers with something unusable.
    ResultError
        If the result objects cannot be built.
    """
    watch = analysis.Stopwatch(setup.name)
    created = datetime.now(UTC).replace(microsecond=0)
    identity: dict[str, Any] = {
        "series_instance_uid": series.series_instance_uid,
        "revision": 1,
        "created": created,
    }
    refusal: SeriesError | None = None
    with TemporaryDirectory(prefix="dicomnode-") as scratch:
        workspace = Workspace(Path(scratch))
        try:
            on_stage("assemble")
            analysis.assemble(workspace, series.paths, watch)
        except SeriesError as error:
            refusal = error
            on_stage("results")
            contents = analysis.write_refusal(series.paths, setup, error=error, **identity)
        else:
            on_stage("infer")
            analysis.infer(workspace, setup, client, watch)
            on_stage("results")
            contents = analysis.write_results(workspace, setup, watch=watch, **identity)
    for name, content in contents.items():
        write_durably(folder / name, content)
    summary = contents.get(analysis.SUMMARY_FILE)
    return SeriesOutcome(
        series_instance_uid=series.series_instance_uid,
        folder=folder,
        files=tuple(contents),
        summary=None if summary is None else json.loads(summary),
        reason=None if refusal is None else refusal.reason,
        sentence=None if refusal is None else str(refusal),
        seconds=watch.seconds,
    )
