"""Findings -> Comprehensive 3D SR by template TID 1500 (PS3.16), unverified.

The titles that viewers know: an (126000, DCM, Imaging Measurement Report) without coordinates
opens as an empty viewport in OHIF; (126001, DCM, Oncology Measurement Report) is shown as text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    FindingSite,
    QualitativeEvaluation,
    ReferencedSegment,
    SourceSeriesForSegmentation,
    TrackingIdentifier,
)
from highdicom.sr import (
    Measurement as MeasurementItem,
)
from highdicom.sr import (
    MeasurementsAndQualitativeEvaluations as ImageGroup,
)
from highdicom.sr import (
    VolumetricROIMeasurementsAndQualitativeEvaluations as RoiGroup,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomnode.config import ReportConfig
from dicomnode.model.findings import (
    Classification,
    Findings,
    Guard,
    Measurement,
    ModelIdentity,
    Segment,
)
from dicomnode.results.document import (
    Evaluation,
    add_text,
    coded_text,
    encode_document,
    private_code,
)
from dicomnode.results.evidence import ResultContext, result_uid
from dicomnode.results.segments import tracking_uid
from dicomnode.results.source import value_of
from dicomnode.standard import codes as node_codes


def encode_report(
    findings: Findings,
    *,
    evidence: Sequence[Dataset],
    segmentation: Dataset | None,
    context: ResultContext,
    variant: str = "",
    options: ReportConfig | None = None,
) -> Dataset:
    """Build the SR of one series revision.

    One group by TID 1411 for each segment of the SEG, one by TID 1501 for each segment that was
    looked for in vain and for each classification, and the guards, rules and notes in plain words.

    Parameters
    ----------
    findings : Findings
    evidence : sequence of Dataset
        Headers of all source instances; all of them are named as evidence.
    segmentation : Dataset or None
        What `encode_segmentation` made of the same findings and context; None also for a
        destination that is sent none, whose report must not refer to it.
    context : ResultContext
    variant : str
        What tells this report from the one on the default SEG, for its UIDs: one that refers to
        another SEG is another report.
    options : ReportConfig, optional
        What the report claims of itself.

    Returns
    -------
    Dataset
        Ready to be written, Explicit VR Little Endian.

    Raises
    ------
    ResultError
        If an instance of the evidence cannot be referred to.
    """
    groups = [
        *(_segment_group(each, findings, segmentation, context) for each in findings.segments),
        *(
            _classification_group(index, each, findings, context)
            for index, each in enumerate(findings.classifications)
        ),
    ]
    return encode_document(
        kind=f"sr-{variant}".rstrip("-"),
        series_description="AI report (research use only)",
        groups=groups or [_outcome_group(findings, context)],
        evaluations=[
            *_evaluations(findings),
            *_about_frame_of_reference(evidence, segmentation),
            *(coded_text(sentence) for sentence in _in_words(findings)),
        ],
        evidence=evidence if segmentation is None else (*evidence, segmentation),
        context=context,
        models=findings.models,
        options=options,
    )


def _segment_group(
    segment: Segment, findings: Findings, segmentation: Dataset | None, context: ResultContext
) -> RoiGroup | ImageGroup:
    uid = tracking_uid(segment, findings, context)
    number = _number_in(segmentation, uid)
    measurements = [_measurement(each) for each in segment.measurements if _is_number(each)]
    tracking = TrackingIdentifier(uid=uid, identifier=segment.label)
    algorithm = _algorithm(segment.model)
    sites = _finding_sites(segment)
    group: RoiGroup | ImageGroup
    if segmentation is None or number is None:
        group = ImageGroup(
            tracking_identifier=tracking,
            finding_category=segment.category,
            finding_type=segment.property_type,
            finding_sites=sites or None,
            algorithm_id=algorithm,
            measurements=measurements,
        )
        if segment.volume_ml <= 0:
            add_text(group, f"{segment.label}: looked for and not found.")
    else:
        group = RoiGroup(
            tracking_identifier=tracking,
            referenced_segment=ReferencedSegment(
                sop_class_uid=segmentation.SOPClassUID,
                sop_instance_uid=segmentation.SOPInstanceUID,
                segment_number=number,
                source_series=SourceSeriesForSegmentation(context.series_instance_uid),
            ),
            finding_category=segment.category,
            finding_type=segment.property_type,
            finding_sites=sites or None,
            algorithm_id=algorithm,
            measurements=measurements,
        )
    for each in segment.measurements:
        if not _is_number(each):
            add_text(group, f"{each.name.meaning} could not be computed.")
    return group


def _finding_sites(segment: Segment) -> list[FindingSite]:
    """Say where it lies: an organ is its own site, of a lesion only its anatomic region tells."""
    is_anatomy = segment.category == node_codes.ANATOMICAL_STRUCTURE
    site = segment.anatomic_region or (segment.property_type if is_anatomy else None)
    return [] if site is None else [FindingSite(site, laterality=segment.laterality)]


def _number_in(segmentation: Dataset | None, uid: str) -> int | None:
    """Return the Segment Number that bears Tracking UID `uid`."""
    if segmentation is None:
        return None
    for item in segmentation.SegmentSequence:
        if uid == item.get("TrackingUID"):
            return int(item.SegmentNumber)
    return None


def _classification_group(
    index: int, classification: Classification, findings: Findings, context: ResultContext
) -> ImageGroup:
    scores = [
        _measurement(
            Measurement(
                name=_score_name(name, classification.score_kind),
                value=score,
                unit=_score_unit(classification.score_kind),
            )
        )
        for name, score in classification.scores
        if math.isfinite(score)
    ]
    if classification.threshold is not None:
        scores.append(
            _measurement(
                Measurement(
                    name=private_code("score_threshold", "Score from which this class is given"),
                    value=classification.threshold,
                    unit=_score_unit(classification.score_kind),
                )
            )
        )
    measured = [_measurement(each) for each in classification.measurements if _is_number(each)]
    group = ImageGroup(
        tracking_identifier=TrackingIdentifier(
            uid=result_uid(context, f"tracking-classification-{index}", findings.models),
            identifier=classification.question.meaning,
        ),
        algorithm_id=_algorithm(classification.model),
        measurements=[*measured, *scores],
        qualitative_evaluations=[
            QualitativeEvaluation(name=classification.question, value=classification.answer)
        ],
    )
    add_text(group, f"Rule: {classification.rule}")
    return group


def _outcome_group(findings: Findings, context: ResultContext) -> ImageGroup:
    """Say that nothing was looked for: TID 1500 wants at least one group."""
    return ImageGroup(
        tracking_identifier=TrackingIdentifier(
            uid=result_uid(context, "tracking-outcome", findings.models),
            identifier="Outcome of the analysis",
        ),
        qualitative_evaluations=[
            QualitativeEvaluation(
                name=codes.DCM.CADProcessingAndFindingsSummary,
                value=codes.cid6047.AllAlgorithmsSucceededWithoutFindings,
            )
        ],
    )


def _evaluations(findings: Findings) -> Iterator[Evaluation]:
    """Yield what holds for the whole image: the outcome, then guards and notes in plain words."""
    is_found = bool(findings.found_segments or findings.classifications)
    is_blocked = any(guard.blocks for guard in findings.guards)
    yield Evaluation(
        name=codes.DCM.CADProcessingAndFindingsSummary, value=_summary(is_found, is_blocked)
    )
    for guard in findings.guards:
        yield from _guard(guard)
    for note in findings.notes:
        yield coded_text(note)


def _in_words(findings: Findings) -> Iterator[str]:
    """Say what was found once more as sentences: some viewers show numbers without their names."""
    for segment in findings.segments:
        numbers = [_words(each) for each in segment.measurements if _is_number(each)]
        if segment.volume_ml > 0 and numbers:
            yield f"{segment.label}: {'; '.join(numbers)}."
    for each in findings.classifications:
        numbers = [_words(measured) for measured in each.measurements if _is_number(measured)]
        scores = [
            f"{name}, {each.score_kind} {_readable(score):g}"
            for name, score in each.scores
            if math.isfinite(score)
        ]
        answer = f"{each.question.meaning}: {each.answer.meaning}"
        yield f"{'; '.join([answer, *scores, *numbers])}."


def _words(measurement: Measurement) -> str:
    derivation = f" ({measurement.derivation.meaning})" if measurement.derivation else ""
    symbol = {"[hnsf'U]": "HU", "1": ""}.get(measurement.unit.value, measurement.unit.value)
    value = f"{_readable(measurement.value):g} {symbol}".strip()
    return f"{measurement.name.meaning}{derivation} {value}"


def _about_frame_of_reference(
    evidence: Sequence[Dataset], segmentation: Dataset | None
) -> Iterator[Evaluation]:
    """Own up to a Frame of Reference that the SEG must have and the source has not."""
    if segmentation is not None and not value_of(evidence[0], "FrameOfReferenceUID"):
        yield coded_text(
            "The source images name no Frame of Reference; the segmentation names one made for "
            "this series."
        )


def _summary(is_found: bool, is_blocked: bool) -> Code:
    """Choose from CID 6047 "CAD Analysis Processing and Findings Summary" (PS3.16)."""
    choices = {
        (True, False): codes.cid6047.AllAlgorithmsSucceededWithFindings,
        (False, False): codes.cid6047.AllAlgorithmsSucceededWithoutFindings,
        (True, True): codes.cid6047.NotAllAlgorithmsSucceededWithFindings,
        (False, True): codes.cid6047.NotAllAlgorithmsSucceededWithoutFindings,
    }
    chosen: Code = choices[is_found, is_blocked]
    return chosen


def _guard(guard: Guard) -> Iterator[Evaluation]:
    yield Evaluation(
        name=private_code("guard", "Limitation of the analysis"),
        value=private_code(guard.name, guard.name.replace("_", " ")),
    )
    consequence = " No classification was made for this reason." if guard.blocks else ""
    yield coded_text(f"{guard.sentence}{consequence}")


def _algorithm(model: ModelIdentity) -> AlgorithmIdentification:
    return AlgorithmIdentification(
        name=model.name,
        version=model.version,
        manufacturer=model.manufacturer,
        family=model.family,
        parameters=[
            f"manifest sha256:{model.manifest_digest}",
            f"Triton model {model.triton_model} on {model.server}",
        ],
    )


def _measurement(measurement: Measurement) -> MeasurementItem:
    return MeasurementItem(
        name=measurement.name,
        value=_readable(measurement.value),
        unit=measurement.unit,
        derivation=measurement.derivation,
    )


def _is_number(measurement: Measurement) -> bool:
    return math.isfinite(measurement.value)


def _readable(value: float) -> float:
    """Round to five digits: a report that says 2514.2998046875 mL claims too much."""
    return float(f"{value:.5g}")


def _score_unit(score_kind: str) -> Code:
    return node_codes.unit("%" if score_kind == "percent" else "1")


def _score_name(class_name: str, score_kind: str) -> Code:
    return private_code(f"score_{class_name}", f"{score_kind.capitalize()}: {class_name}")
