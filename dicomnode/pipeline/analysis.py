"""The stages of an analysis, one after the other, on the files of one workspace.  No jobs here.

`process` calls them directly, the durable workflows as steps: both are the same pipeline.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from dicomnode.errors import SeriesError
from dicomnode.imaging.orient import to_orientation
from dicomnode.imaging.volume import read_series
from dicomnode.inference.classify import classify
from dicomnode.inference.client import TritonClient
from dicomnode.inference.guards import check_lungs
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.segment import segment
from dicomnode.metrics import STAGE_SECONDS
from dicomnode.model.findings import Classification, Findings, LabelMap
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.results.evidence import ResultContext, read_evidence
from dicomnode.results.nifti import encode_label_map
from dicomnode.results.part10 import encode_part10
from dicomnode.results.picture import draw_overlay
from dicomnode.results.refusal import encode_refusal
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.results.summary import summarize
from dicomnode.spool.workspace import Workspace

SEG_FILE: Final = "seg.dcm"
SR_FILE: Final = "sr.dcm"
PICTURE_FILE: Final = "overlay.png"
SUMMARY_FILE: Final = "findings.json"

LABELS_FILE: Final = "labels.nii.gz"

OBJECT_FILES: Final = {
    "seg": SEG_FILE,
    "sr": SR_FILE,
    "sc": "sc.dcm",
    "png": PICTURE_FILE,
    "json": SUMMARY_FILE,
    "nifti": LABELS_FILE,
}
"""What destinations can ask for, and the file that holds it."""


@dataclass(slots=True)
class Stopwatch:
    """Times the stages of one analysis."""

    pipeline: str
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`."""
        begin = time.perf_counter()
        yield
        took = time.perf_counter() - begin
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + took, 3)
        STAGE_SECONDS.labels(self.pipeline, stage).observe(took)


def assemble(workspace: Workspace, paths: Sequence[Path], watch: Stopwatch) -> int:
    """Read a series and keep its volume.

    Returns
    -------
    int
        Number of slices.

    Raises
    ------
    SeriesError
        If the series cannot become a volume.
    """
    with watch.time("assemble"):
        found = read_series(paths)
        workspace.save_volume(found.volume, found.paths)
    return found.volume.geometry.shape_kji[0]


def infer(
    workspace: Workspace, setup: PipelineSetup, client: TritonClient, watch: Stopwatch
) -> Findings:
    """Ask every model of the pipeline and keep what they found.

    Raises
    ------
    InferenceError
        If a model cannot be asked, does not keep its contract, or answers with nonsense.
    """
    volume, _paths = workspace.load_volume()
    server = client.server_identity()
    for manifest in setup.manifests:
        client.check_contract(manifest)
    identity = setup.segment.identity(server)
    with watch.time("segment"):
        oriented = to_orientation(volume, setup.segment.input.orientation)
        labels = segment(
            client,
            setup.segment,
            voxels_hu=oriented.voxels_hu,
            spacing_kji_mm=oriented.spacing_kji_mm,
        )
        label_map = LabelMap(labels=oriented.restore(labels), geometry=volume.geometry)
    with watch.time("measure"):
        segments = describe_segments(
            setup.segment,
            identity,
            labels=label_map.labels,
            voxels_hu=volume.voxels_hu,
            voxel_volume_ml=volume.geometry.voxel_volume_ml,
        )
        guards = check_lungs(labels, segments)
    classifications: list[Classification] = []
    if not any(guard.blocks for guard in guards):
        with watch.time("classify"):
            for manifest in setup.classify:
                into = to_orientation(volume, manifest.input.orientation)
                classifications.append(
                    classify(
                        client,
                        manifest,
                        voxels_hu=into.voxels_hu,
                        labels=into.apply(label_map.labels),
                        spacing_kji_mm=into.spacing_kji_mm,
                    )
                )
    findings = Findings(
        segments=segments,
        label_map=label_map,
        classifications=tuple(classifications),
        guards=guards,
        models=tuple(manifest.identity(server) for manifest in setup.manifests),
        notes=volume.notes,
    )
    workspace.save_findings(findings)
    return findings


def write_results(
    workspace: Workspace,
    setup: PipelineSetup,
    *,
    series_instance_uid: str,
    revision: int,
    created: datetime,
    watch: Stopwatch,
    kinds: Collection[str] = (),
) -> dict[str, bytes]:
    """Make the result objects from what the workspace holds.

    Parameters
    ----------
    created : datetime
        Start of the analysis, aware; written into the objects, so a repeat passes the same.
    kinds : collection of str
        What is made on request only: ``nifti``.

    Returns
    -------
    dict of str to bytes
        Contents by file name; `SEG_FILE` only if a segment holds a voxel.
    """
    volume, paths = workspace.load_volume()
    findings = workspace.load_findings(volume.geometry)
    context = _context(setup, series_instance_uid, revision, created)
    contents: dict[str, bytes] = {}
    with watch.time("results"):
        evidence = read_evidence(paths)
        segmentation = encode_segmentation(
            findings, volume_sources=volume.sources, evidence=evidence, context=context
        )
        if segmentation is not None:
            contents[SEG_FILE] = encode_part10(segmentation)
        report = encode_report(
            findings, evidence=evidence, segmentation=segmentation, context=context
        )
        contents[SR_FILE] = encode_part10(report)
    with watch.time("picture"):
        view = to_orientation(volume, "LPS")
        contents[PICTURE_FILE] = draw_overlay(
            view.voxels_hu,
            view.apply(findings.label_map.labels),
            spacing_kji_mm=view.spacing_kji_mm,
            segments=findings.segments,
            lines=_headlines(findings),
        )
    if "nifti" in kinds:
        with watch.time("nifti"):
            contents[LABELS_FILE] = encode_label_map(findings.label_map)
    summary = summarize(findings, context=context)
    contents[SUMMARY_FILE] = (json.dumps(summary, indent=2) + "\n").encode()
    return contents


def write_refusal(
    paths: Sequence[Path],
    setup: PipelineSetup,
    *,
    series_instance_uid: str,
    revision: int,
    created: datetime,
    error: SeriesError,
) -> dict[str, bytes]:
    """Make the SR that says why a series was not analyzed."""
    report = encode_refusal(
        reason=error.reason,
        sentence=str(error),
        evidence=read_evidence(paths),
        context=_context(setup, series_instance_uid, revision, created),
    )
    return {SR_FILE: encode_part10(report)}


def _context(
    setup: PipelineSetup, series_instance_uid: str, revision: int, created: datetime
) -> ResultContext:
    return ResultContext(
        series_instance_uid=series_instance_uid,
        revision=revision,
        pipeline=setup.name,
        pipeline_version=setup.version,
        created=created,
    )


def _headlines(findings: Findings) -> tuple[str, ...]:
    """Say the classifications and guards in a line each, for the picture."""
    answers = [
        f"{each.question.meaning}: {each.answer.meaning}" for each in findings.classifications
    ]
    return (*answers, *(guard.sentence for guard in findings.guards))
