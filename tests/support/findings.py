"""Made-up findings on the grid of a CT series: three segments, of which the second is empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicomnode.model.findings import (
    Classification,
    Findings,
    Guard,
    LabelMap,
    Measurement,
    ModelIdentity,
    Segment,
)
from dicomnode.model.volume import SourceFrame, VolumeGeometry
from dicomnode.results.evidence import ResultContext, read_evidence
from dicomnode.standard import codes

STARTED_AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)

MODEL = ModelIdentity(
    name="lung-classical",
    version="1.2",
    manufacturer="dicomnode",
    family=Code("123110", "DCM", "Artificial Intelligence"),
    manifest_digest="0f" * 32,
    triton_model="lung_segmentation",
    server="triton 2.51.0",
)
BURDEN_MODEL = replace(MODEL, name="opacity-burden", version="0.3", manifest_digest="a5" * 32)

LEFT_LUNG, EMPTY, RIGHT_LUNG = 1, 2, 4
"""Values in the label map; 3 is nobody's."""

LESION, IN_LEFT, IN_RIGHT = 5, 9, 10
"""A lesion alone, and the values that stand for lesion and lung where they overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A series and what was found in it, as the encoders want it."""

    findings: Findings
    sources: tuple[SourceFrame, ...]
    evidence: tuple[Dataset, ...]
    context: ResultContext


def phantom_labels(shape_kji: Sequence[int]) -> NDArray[np.uint8]:
    """Make two segments that look different after any flip, swap or shift of axes."""
    slices, rows, columns = shape_kji
    labels = np.zeros(tuple(shape_kji), dtype=np.uint8)
    for k in range(1, slices - 2):
        labels[k, 2 : 5 + k, 1 : columns // 2 - 1] = RIGHT_LUNG
        labels[k, 3 : rows - 2 * k, columns // 2 + 1 : columns - 2] = LEFT_LUNG
    labels[1, 2, 1] = 0
    return labels


def geometry_of(headers: Sequence[Dataset]) -> VolumeGeometry:
    """The grid of single-frame images in slice order, straight from PS3.3 C.7.6.2.1.1."""
    first, last = headers[0], headers[-1]
    between_rows, between_columns = (float(each) for each in first.PixelSpacing)
    cosines = np.array(first.ImageOrientationPatient, dtype=float)
    origin = np.array(first.ImagePositionPatient, dtype=float)
    affine = np.eye(4)
    affine[:3, 0] = cosines[:3] * between_columns
    affine[:3, 1] = cosines[3:] * between_rows
    affine[:3, 2] = (np.array(last.ImagePositionPatient, dtype=float) - origin) / (len(headers) - 1)
    affine[:3, 3] = origin
    return VolumeGeometry(
        shape_kji=(len(headers), int(first.Rows), int(first.Columns)), affine_ijk_to_lps=affine
    )


def sources_of(headers: Sequence[Dataset]) -> tuple[SourceFrame, ...]:
    return tuple(
        SourceFrame(
            sop_class_uid=str(each.SOPClassUID),
            sop_instance_uid=str(each.SOPInstanceUID),
            frame_number=None,
        )
        for each in headers
    )


def make_segments(labels: NDArray[np.uint8], voxel_volume_ml: float) -> tuple[Segment, ...]:
    made = []
    for number, label, laterality, color in (
        (LEFT_LUNG, "Left lung", codes.LEFT, (80, 160, 255)),
        (EMPTY, "Effusion", None, (90, 220, 90)),
        (RIGHT_LUNG, "Right lung", codes.RIGHT, (255, 170, 60)),
    ):
        count = int(np.count_nonzero(labels == number))
        volume = Measurement(
            name=codes.VOLUME, value=count * voxel_volume_ml, unit=codes.unit("mL")
        )
        mean = Measurement(
            name=Code("112031", "DCM", "Attenuation Coefficient"),
            value=-812.345678,
            unit=codes.unit("[hnsf'U]"),
            derivation=Code("373098007", "SCT", "Mean"),
        )
        is_lung = number != EMPTY
        made.append(
            Segment(
                number=number,
                label=label,
                category=codes.ANATOMICAL_STRUCTURE
                if is_lung
                else Code("91720002", "SCT", "Body Substance"),
                property_type=codes.LUNG if is_lung else Code("61685007", "SCT", "Effusion"),
                laterality=laterality,
                color_rgb=color,
                model=MODEL,
                volume_ml=volume.value,
                measurements=(volume, mean) if count else (volume,),
            )
        )
    return tuple(made)


CLASSIFICATION = Classification(
    question=Code("opacity_burden", "99DCMNODE", "Opacity burden"),
    answer=Code("mild", "99DCMNODE", "Mild"),
    scores=(("none", 0.123456789), ("mild", 0.876543211)),
    score_kind="probability",
    rule="The class with the highest probability.",
    measurements=(
        Measurement(
            name=Code("percent_opacity", "99DCMNODE", "Percent opacity"),
            value=3.21,
            unit=codes.unit("%"),
        ),
    ),
    model=BURDEN_MODEL,
)

NO_LUNGS = Guard(name="no_lungs", sentence="No lungs were found in this series.", blocks=True)


def make_context(evidence: Sequence[Dataset]) -> ResultContext:
    """Return what results of the first revision of a series are made in."""
    return ResultContext(
        series_instance_uid=str(evidence[0].SeriesInstanceUID),
        revision=1,
        pipeline="covid-ct",
        pipeline_version="7",
        created=STARTED_AT,
    )


def make_findings(paths: Sequence[Path], **changes: Any) -> Made:
    """Make findings for a series whose files are given in slice order.

    `changes` replaces ``labels`` of the label map or any field of `Findings`.
    """
    evidence = read_evidence(paths)
    geometry = geometry_of(evidence)
    labels = changes.pop("labels", None)
    labels = phantom_labels(geometry.shape_kji) if labels is None else labels
    findings = Findings(
        segments=make_segments(labels, geometry.voxel_volume_ml),
        label_map=LabelMap(labels=labels, geometry=geometry),
        classifications=(CLASSIFICATION,),
        guards=(),
        models=(MODEL, BURDEN_MODEL),
    )
    return Made(
        findings=replace(findings, **changes),
        sources=sources_of(evidence),
        evidence=evidence,
        context=make_context(evidence),
    )


def make_overlapping(paths: Sequence[Path]) -> Made:
    """Make findings with a lesion that lies in both lungs and between them."""
    made = make_findings(paths)
    labels = made.findings.label_map.labels.copy()
    part = labels[2:5, 4:8, 2:-4]
    part[...] = np.select([part == LEFT_LUNG, part == RIGHT_LUNG], [IN_LEFT, IN_RIGHT], LESION)
    label_map = replace(
        made.findings.label_map,
        labels=labels,
        overlaps={IN_LEFT: (LEFT_LUNG, LESION), IN_RIGHT: (RIGHT_LUNG, LESION)},
    )
    volume_ml = part.size * label_map.geometry.voxel_volume_ml
    lesion = replace(
        made.findings.segments[0],
        number=LESION,
        label="Opacity",
        category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        property_type=Code("52988006", "SCT", "Lesion"),
        laterality=None,
        anatomic_region=codes.LUNG,
        volume_ml=volume_ml,
        measurements=(Measurement(name=codes.VOLUME, value=volume_ml, unit=codes.unit("mL")),),
    )
    findings = replace(
        made.findings, label_map=label_map, segments=(*made.findings.segments, lesion)
    )
    return replace(made, findings=findings)
