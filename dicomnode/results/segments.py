"""The segments of a SEG (PS3.3 C.8.20.2): their numbers, their names, what they say of themselves.

No frame and no pixel is here.
"""

from __future__ import annotations

import highdicom
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from highdicom.sr import CodedConcept

from dicomnode.config import SegConfig
from dicomnode.model.findings import Findings, Segment
from dicomnode.results.evidence import ResultContext, result_uid
from dicomnode.results.frames import count_segments, number_segments


def segment_numbers(findings: Findings, options: SegConfig | None = None) -> dict[int, int]:
    """Map each label of the findings that is in the SEG to its Segment Number there.

    Raises
    ------
    ResultError
        If the label map holds a value that no segment describes.
    """
    keep = options is not None and options.empty_segments == "keep"
    return number_segments(findings, count_segments(findings), keep=keep)


def tracking_uid(segment: Segment, findings: Findings, context: ResultContext) -> str:
    """Return the Tracking UID that SEG and SR give a segment (PS3.3 C.8.20.2)."""
    return result_uid(context, f"tracking-segment-{segment.number}", findings.models)


def describe_segment(
    segment: Segment, number: int, findings: Findings, context: ResultContext
) -> SegmentDescription:
    """Describe a segment as what it is, and who found it.

    Parameters
    ----------
    segment : Segment
    number : int
        Its Segment Number in the SEG.
    findings : Findings
        That it is of.
    context : ResultContext
    """
    model = segment.model
    description = SegmentDescription(
        segment_number=number,
        segment_label=shortened(segment.label),
        segmented_property_category=segment.category,
        segmented_property_type=segment.property_type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=shortened(model.name),
            version=shortened(model.version),
            family=model.family,
            source=shortened(model.manufacturer),
            parameters={
                "manifest": f"sha256:{model.manifest_digest}",
                "triton_model": model.triton_model,
                "server": model.server,
            },
        ),
        tracking_uid=tracking_uid(segment, findings, context),
        tracking_id=segment.label,
        anatomic_regions=[segment.anatomic_region] if segment.anatomic_region else None,
        display_color=CIELabColor.from_rgb(*segment.color_rgb),
    )
    if segment.laterality is not None:
        side = [CodedConcept.from_code(segment.laterality)]
        if segment.anatomic_region is None:
            kind = description.SegmentedPropertyTypeCodeSequence[0]
            kind.SegmentedPropertyTypeModifierCodeSequence = side
        else:
            # The side is that of the place: the left lung, not a left lesion.
            description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = side
    return description


def shortened(text: str) -> str:
    """Return at most 64 characters, as VR LO holds (PS3.5 6.2), and no backslash."""
    clean = text.replace("\\", "/").strip()
    return clean if len(clean) <= 64 else f"{clean[:61]}..."
