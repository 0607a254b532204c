"""The stages of an analysis, one after the other, on the files of one workspace.  No jobs here.

`process` calls them directly, the durable workflows as steps: both are the same pipeline.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from dicomnode import tracing
from dicomnode.config import SegConfig
from dicomnode.errors import ResultError, SeriesError
from dicomnode.imaging.contents import Faulty, SeriesContents, open_series
from dicomnode.imaging.grid import ModelGrids, to_model_grid
from dicomnode.imaging.volume import assemble_series
from dicomnode.inference.client import TritonClient
from dicomnode.inference.guards import check_lungs
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.ratios import Segmented, add_ratios
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.log import get_logger
from dicomnode.metrics import STAGE_SECONDS
from dicomnode.model.findings import Classification, Findings, Guard, ModelIdentity
from dicomnode.model.selection import Decision
from dicomnode.model.volume import Volume
from dicomnode.pipeline.asking import classify_volume, label_volume
from dicomnode.pipeline.layers import MakeArray, lay_over
from dicomnode.pipeline.objects import (
    LABELS_FILE,
    PICTURE_FILE,
    SR_FILE,
    SUMMARY_FILE,
    WITHOUT_SEG,
    capture_files,
    seg_file,
    sr_file,
    wanted_captures,
    wanted_segmentations,
    wants_label_map,
    wants_report_without_seg,
)
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.results.capture import encode_captures
from dicomnode.results.evidence import Predecessor, ResultContext, read_evidence
from dicomnode.results.nifti import encode_label_map
from dicomnode.results.part10 import encode_part10
from dicomnode.results.picture import Pictures, encode_png
from dicomnode.results.refusal import encode_refusal
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.seg_options import fitting_options, variant_name
from dicomnode.results.sr import encode_report
from dicomnode.results.summary import summarize
from dicomnode.series.selection import decide
from dicomnode.spool.workspace import Workspace
from dicomnode.standard.codes import LUNG

_log = get_logger("pipeline")


@dataclass(slots=True)
class Stopwatch:
    """Times the stages of one analysis."""

    pipeline: str
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`."""
        begin = time.perf_counter()
        with tracing.span(stage, pipeline=self.pipeline):
            yield
        took = time.perf_counter() - begin
        self.seconds[stage] = round(self.seconds.get(stage, 0.0) + took, 3)
        STAGE_SECONDS.labels(self.pipeline, stage).observe(took)


def choose(
    paths: Sequence[Path], setup: PipelineSetup, watch: Stopwatch
) -> tuple[SeriesContents, Decision]:
    """Read the headers of a series and ask whether the pipeline wants it.

    Returns
    -------
    SeriesContents
    Decision
        Whether the series by itself fits; it may still not be the best of its study.
    """
    with watch.time("select"):
        contents = open_series(paths, setup.keywords)
        return contents, decide(setup.config.selection, contents.traits)


def assemble(
    workspace: Workspace, contents: SeriesContents, setup: PipelineSetup, watch: Stopwatch
) -> tuple[Faulty, ...]:
    """Pass a series through the geometry gate and keep its volume.

    Returns
    -------
    tuple of Faulty
        Files that could not be used and count as missing.

    Raises
    ------
    SeriesFault
        If the series cannot become a volume.
    """
    with watch.time("assemble"), workspace.voxels_file() as file:
        found = assemble_series(contents, setup.gate, file.make)
        workspace.keep_volume(file, found.volume, found.paths)
    return found.faulty


def infer(
    workspace: Workspace,
    setup: PipelineSetup,
    client: TritonClient,
    watch: Stopwatch,
    *,
    cancelled: Callable[[], bool] | None = None,
) -> Findings:
    """Ask every model of the pipeline and keep what they found.

    Parameters
    ----------
    cancelled : callable, optional
        Asked now and then; True ends the calls, here and in the server.

    Raises
    ------
    InferenceError
        If a model cannot be asked, does not keep its contract, or answers with nonsense.
    """
    volume, _paths = workspace.load_volume()
    with client.keeping_inputs() as keeping, workspace.labels_file() as file:
        findings = _ask_models(volume, setup, keeping, watch, file.make, cancelled)
        workspace.save_findings(findings, file)
    return findings


def _ask_models(
    volume: Volume,
    setup: PipelineSetup,
    client: TritonClient,
    watch: Stopwatch,
    make_array: MakeArray,
    cancelled: Callable[[], bool] | None,
) -> Findings:
    grids = ModelGrids(volume)
    server = client.server_identity()
    # Every time: a model may have been exchanged in the server since the last series.
    resolved = {each.name: client.check_contract(each) for each in setup.manifests}
    found: list[Segmented] = []
    for manifest in setup.segment:
        asked_at = _now()
        with watch.time("segment"):
            labels = label_volume(
                client, resolved[manifest.name], grids, found, cancelled=cancelled
            )
        with watch.time("measure"):
            segments = describe_segments(
                manifest,
                manifest.identity(server, asked_at=asked_at),
                labels=labels,
                voxels_hu=volume.voxels_hu,
                voxel_volume_ml=volume.geometry.voxel_volume_ml,
            )
        found.append(Segmented(manifest=manifest, labels=labels, segments=segments))
    with watch.time("measure"):
        guards = _check(grids, found)
        measured = add_ratios(found)
        label_map, all_segments = lay_over(measured, volume.geometry, make_array)
    classifications: list[Classification] = []
    if not any(guard.blocks for guard in guards):
        with watch.time("classify"):
            for manifest in setup.classify:
                answer = classify_volume(
                    client, resolved[manifest.name], grids, measured, cancelled=cancelled
                )
                if answer is None:
                    guards = (*guards, _nothing_to_classify(manifest))
                else:
                    classifications.append(answer)
    asked = [each.segments[0].model for each in found]
    asked.extend(each.model for each in classifications)
    return Findings(
        segments=all_segments,
        label_map=label_map,
        classifications=tuple(classifications),
        guards=guards,
        models=_in_order(setup, server, asked),
        notes=volume.notes,
    )


def _check(grids: ModelGrids, found: Sequence[Segmented]) -> tuple[Guard, ...]:
    """Look for what makes the first segmentation of the lungs doubtful."""
    view = grids.to("LPS")
    for each in found:
        guards = check_lungs(view.apply(each.labels), each.segments)
        if guards or any(segment.property_type == LUNG for segment in each.segments):
            return guards
    return ()


def _nothing_to_classify(manifest: Manifest) -> Guard:
    return Guard(
        name="nothing_to_classify",
        sentence=f"{manifest.algorithm.name}: the structure that it looks at was not found.",
        blocks=True,
    )


def _in_order(
    setup: PipelineSetup, server: str, asked: Sequence[ModelIdentity]
) -> tuple[ModelIdentity, ...]:
    """Return all models of the pipeline, with the time of those that were asked."""
    times = {each.manifest_digest: each.asked_at for each in asked}
    return tuple(
        each.identity(server, asked_at=times.get(each.digest, "")) for each in setup.manifests
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write_results(
    workspace: Workspace,
    setup: PipelineSetup,
    *,
    series_instance_uid: str,
    revision: int,
    created: datetime,
    watch: Stopwatch,
    predecessor: Predecessor | None = None,
) -> dict[str, bytes]:
    """Make the result objects from what the workspace holds.

    Parameters
    ----------
    created : datetime
        Start of the analysis, aware; written into the objects, so a repeat passes the same.
    predecessor : Predecessor or None
        The report that the new one replaces.

    Returns
    -------
    dict of str to bytes
        Contents by file name: what the pipeline's destinations ask for, the default SEG and SR in
        any case, picture and summary.  A SEG only if a segment holds a voxel.
    """
    volume, paths = workspace.load_volume()
    findings = workspace.load_findings(volume.geometry)
    context = _context(setup, series_instance_uid, revision, created, predecessor)
    contents: dict[str, bytes] = {}
    with watch.time("results"):
        evidence = read_evidence(paths)
        report = partial(
            encode_report,
            findings,
            evidence=evidence,
            context=context,
            options=setup.config.report,
        )
        for options in _fitting(wanted_segmentations(setup.destinations), findings):
            segmentation = encode_segmentation(
                findings,
                volume_sources=volume.sources,
                evidence=evidence,
                context=context,
                options=options,
            )
            variant = variant_name(options)
            if segmentation is not None:
                contents[seg_file(options)] = encode_part10(segmentation)
            if sr_file(variant) not in contents:
                contents[sr_file(variant)] = encode_part10(
                    report(segmentation=segmentation, variant=variant)
                )
        if wants_report_without_seg(setup.destinations):
            contents[sr_file(WITHOUT_SEG)] = encode_part10(
                report(segmentation=None, variant=WITHOUT_SEG)
            )
    with watch.time("picture"):
        view = to_model_grid(volume, "LPS")
        pictures = Pictures(
            view.voxels_hu,
            view.apply(findings.label_map.labels),
            uppermost=findings.label_map.uppermost(),
            spacing_kji_mm=view.spacing_kji_mm,
            segments=findings.segments,
            classifications=findings.classifications,
            lines=(*(guard.sentence for guard in findings.guards), *findings.notes),
        )
        page = pictures.summary_page()
        contents[PICTURE_FILE] = encode_png(page)
        captures = wanted_captures(setup.destinations)
        drawn = [page, *pictures.key_images()] if captures else []
        for form in captures:
            made = encode_captures(
                drawn, evidence=evidence, context=context, models=findings.models, options=form
            )
            for name, capture in zip(capture_files(form.form, len(made)), made, strict=True):
                contents[name] = encode_part10(capture)
    if wants_label_map(setup.destinations):
        with watch.time("nifti"):
            contents[LABELS_FILE] = encode_label_map(findings.label_map)
    summary = summarize(findings, context=context)
    contents[SUMMARY_FILE] = (json.dumps(summary, indent=2) + "\n").encode()
    return contents


def _fitting(wanted: Sequence[SegConfig], findings: Findings) -> list[SegConfig]:
    """Return the options that the findings can be written with, each once."""
    fitting = [fitting_options(each, findings) for each in wanted]
    if fitting != list(wanted):
        _log.info("label_map_not_written", reason="segments overlap: they are written as binary")
    return list(dict.fromkeys(fitting))


def choose_evidence(
    paths: Sequence[Path], contents: SeriesContents, faulty: Sequence[Faulty]
) -> list[Path]:
    """Return the files that a refusal is to name: the sound ones, else all with a header."""
    useless = {each.path for each in faulty}
    unreadable = {each.path for each in contents.unplaced}
    sound = [path for path in paths if path not in useless]
    return sound or [path for path in paths if path not in unreadable]


def write_refusal(
    paths: Sequence[Path],
    setup: PipelineSetup,
    *,
    series_instance_uid: str,
    revision: int,
    created: datetime,
    error: SeriesError,
    predecessor: Predecessor | None = None,
) -> dict[str, bytes]:
    """Make the SR that says why a series was not analyzed.

    Returns
    -------
    dict of str to bytes
        Empty where the pipeline only records refusals, or nothing of the series can be referred
        to; the refusal itself stands all the same.
    """
    if setup.config.report.not_analyzed == "record":
        return {}
    try:
        report = encode_refusal(
            reason=error.reason,
            sentence=str(error),
            evidence=read_evidence(paths, leave_out_unreadable=True),
            context=_context(setup, series_instance_uid, revision, created, predecessor),
            options=setup.config.report,
        )
    except ResultError as fault:
        _log.warning("refusal_not_reported", reason=error.reason, why=str(fault))
        return {}
    return {SR_FILE: encode_part10(report)}


def _context(
    setup: PipelineSetup,
    series_instance_uid: str,
    revision: int,
    created: datetime,
    predecessor: Predecessor | None,
) -> ResultContext:
    return ResultContext(
        series_instance_uid=series_instance_uid,
        revision=revision,
        pipeline=setup.name,
        pipeline_version=setup.version,
        created=created,
        predecessor=predecessor,
    )
