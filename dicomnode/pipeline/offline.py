"""The pipeline on files, without network, jobs or database: one series in, result files out."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from dicomnode.errors import SeriesError
from dicomnode.imaging.export import write_volume
from dicomnode.imaging.files import SeriesFiles
from dicomnode.imaging.volume import SeriesFault, assemble_series
from dicomnode.inference.client import TritonClient
from dicomnode.model.selection import Decision
from dicomnode.pipeline import analysis
from dicomnode.pipeline.objects import SUMMARY_FILE
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.spool.durable import write_durably
from dicomnode.spool.workspace import Workspace

STAGES: Final = ("select", "assemble", "infer", "results")
"""In order; a series that cannot be used leaves some out."""


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
        Why it was refused or not selected, by stable name and in words.
    decision : Decision
        What each selection rule said.
    seconds : dict of str to float
        Time of each stage.
    """

    series_instance_uid: str
    folder: Path
    files: tuple[str, ...]
    summary: dict[str, Any] | None
    reason: str | None
    sentence: str | None
    decision: Decision
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
        Told each of `STAGES` as it begins.

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
    on_stage("select")
    found, decision = analysis.choose(series.paths, setup, watch)
    if not decision.is_selected:
        return SeriesOutcome(
            series_instance_uid=series.series_instance_uid,
            folder=folder,
            files=(),
            summary=None,
            reason="not_selected",
            sentence=decision.sentence,
            decision=decision,
            seconds=watch.seconds,
        )
    with TemporaryDirectory(prefix="dicomnode-") as scratch:
        workspace = Workspace(Path(scratch))
        try:
            on_stage("assemble")
            analysis.assemble(workspace, found, setup, watch)
        except SeriesFault as fault:
            refusal = fault.error
            on_stage("results")
            paths = analysis.choose_evidence(series.paths, found, fault.faulty)
            contents = analysis.write_refusal(paths, setup, error=refusal, **identity)
        else:
            on_stage("infer")
            analysis.infer(workspace, setup, client, watch)
            on_stage("results")
            contents = analysis.write_results(workspace, setup, watch=watch, **identity)
    for name, content in contents.items():
        write_durably(folder / name, content)
    summary = contents.get(SUMMARY_FILE)
    return SeriesOutcome(
        series_instance_uid=series.series_instance_uid,
        folder=folder,
        files=tuple(contents),
        summary=None if summary is None else json.loads(summary),
        reason=None if refusal is None else refusal.reason,
        sentence=None if refusal is None else str(refusal),
        decision=decision,
        seconds=watch.seconds,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What would become of a series, without asking a model.

    Attributes
    ----------
    series_instance_uid : str
    decision : Decision
    reason, sentence : str or None
        Why the geometry gate refuses it, by stable name and in words; None where it does not, or
        was not asked as the series is not selected.
    shape_kji : tuple of int, or None
        Slices, rows and columns of the volume.
    spacing_ijk_mm : tuple of float, or None
    notes : tuple of str
        What the results would say of the volume.
    """

    series_instance_uid: str
    decision: Decision
    reason: str | None
    sentence: str | None
    shape_kji: tuple[int, int, int] | None
    spacing_ijk_mm: tuple[float, float, float] | None
    notes: tuple[str, ...]


def explain_files(
    series: SeriesFiles, setup: PipelineSetup, *, volume_out: Path | None = None
) -> Explanation:
    """Say what each selection rule and the geometry gate say of a series.

    Parameters
    ----------
    series : SeriesFiles
    setup : PipelineSetup
    volume_out : Path or None
        Where to write the volume, whatever the selection says; None for nowhere.

    Raises
    ------
    ResultError
        If the volume cannot be written.
    """
    contents, decision = analysis.choose(series.paths, setup, analysis.Stopwatch(setup.name))
    facts: dict[str, Any] = {
        "series_instance_uid": series.series_instance_uid,
        "decision": decision,
        "reason": None,
        "sentence": None,
        "shape_kji": None,
        "spacing_ijk_mm": None,
        "notes": (),
    }
    if not decision.is_selected and volume_out is None:
        return Explanation(**facts)
    try:
        volume = assemble_series(contents, setup.gate).volume
    except SeriesFault as fault:
        facts |= {"reason": fault.error.reason, "sentence": str(fault.error)}
        return Explanation(**facts)
    if volume_out is not None:
        write_volume(volume, volume_out)
    facts |= {
        "shape_kji": volume.geometry.shape_kji,
        "spacing_ijk_mm": volume.geometry.spacing_ijk_mm,
        "notes": volume.notes,
    }
    return Explanation(**facts)
