"""Findings -> DICOM Segmentation (SEG, PS3.3 A.51): BINARY, at the source matrix.

Slice order: label maps run along row x column cosines, highdicom's own convention counts the
other way.  Each plane is therefore paired with its own source image, and takes its position from
it; highdicom may then write the frames in whatever order it likes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import (
    SegmentAlgorithmTypeValues,
    Segmentation,
    SegmentationTypeValues,
    SegmentDescription,
)
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from dicomnode.errors import ResultError
from dicomnode.model.findings import Findings, Segment
from dicomnode.model.volume import SourceFrame
from dicomnode.results.evidence import ResultContext, result_uid
from dicomnode.results.planes import (
    SourcePlane,
    distance_between_slices_mm,
    frames_by_instance,
    locate_planes,
)
from dicomnode.results.source import complete, content_datetime, series_number, stand_in, value_of
from dicomnode.standard.sop_classes import CT_IMAGE
from dicomnode.standard.uids import derive_uid


def encode_segmentation(
    findings: Findings,
    *,
    volume_sources: tuple[SourceFrame, ...],
    evidence: Sequence[Dataset],
    context: ResultContext,
    omit_empty_frames: bool = True,
) -> Dataset | None:
    """Build the SEG of one series revision.

    Segments without a voxel are left out and the others are numbered from 1 without gaps, as
    BINARY wants it (PS3.3 C.8.20.2): `segment_numbers` states the mapping, and each segment keeps
    its Tracking UID.

    Parameters
    ----------
    findings : Findings
    volume_sources : tuple of SourceFrame
        One a slice of the label map, in slice order.
    evidence : sequence of Dataset
        Headers of all source instances, in any order.
    context : ResultContext
    omit_empty_frames : bool
        Whether slices without a voxel of a segment get no frame for it.

    Returns
    -------
    Dataset or None
        Ready to be written, Explicit VR Little Endian; None when no segment holds a voxel.

    Raises
    ------
    ResultError
        If label map, sources and evidence do not belong together, or a source lacks what a SEG
        cannot be without.
    """
    numbers = segment_numbers(findings)
    if not numbers:
        return None
    segments = [segment for segment in findings.segments if segment.number in numbers]
    planes = locate_planes(volume_sources, evidence, findings.label_map.geometry)
    header = planes[0].header
    when = content_datetime(header, context)
    names = ", ".join(segment.label for segment in segments)
    frame_uids = [f"2.25.{index + 1}" for index in range(len(planes))]

    made = Segmentation(
        source_images=_stand_ins(planes, frame_uids, findings, context),
        pixel_array=_pixels(findings, numbers),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _describe(segment, numbers[segment.number], findings, context) for segment in segments
        ],
        series_instance_uid=result_uid(context, "seg-series", findings.models),
        series_number=series_number(header, 1),
        sop_instance_uid=result_uid(context, "seg", findings.models),
        instance_number=1,
        manufacturer=context.manufacturer,
        manufacturer_model_name=context.manufacturer_model_name,
        software_versions=context.software_versions,
        device_serial_number=context.device_serial_number,
        series_description=_shortened(f"AI segmentation (research): {names}"),
        content_label=_content_label(context.pipeline),
        content_description=_shortened(names),
        omit_empty_frames=omit_empty_frames,
        content_date=when.date(),
        content_time=when.time(),
    )
    _refer_to_sources(made, planes, frame_uids)
    _fix_dimension_organization(made, result_uid(context, "dimensions", findings.models))
    complete(made, header, context=context, models=findings.models)
    return made


def segment_numbers(findings: Findings) -> dict[int, int]:
    """Map each segment number of the findings that holds a voxel to its Segment Number in the SEG.

    Raises
    ------
    ResultError
        If the label map holds a value that no segment describes.
    """
    counts = np.zeros(256, dtype=np.int64)
    # Slice by slice: bincount widens its input to eight bytes a voxel.
    for plane in findings.label_map.labels:
        counts += np.bincount(plane.ravel(), minlength=256)
    values = [int(value) for value in np.flatnonzero(counts) if value]
    overlaps = findings.label_map.overlaps
    present = {number for value in values for number in overlaps.get(value, (value,))}
    known = [segment.number for segment in findings.segments]
    strange = sorted(present - set(known))
    if strange:
        raise ResultError(f"the label map holds {strange}, described are {sorted(known)}")
    found = [number for number in known if number in present]
    return {number: index for index, number in enumerate(found, start=1)}


def tracking_uid(segment: Segment, findings: Findings, context: ResultContext) -> str:
    """Return the Tracking UID that SEG and SR give a segment (PS3.3 C.8.20.2)."""
    return result_uid(context, f"tracking-segment-{segment.number}", findings.models)


def _stand_ins(
    planes: Sequence[SourcePlane],
    frame_uids: Sequence[str],
    findings: Findings,
    context: ResultContext,
) -> list[Dataset]:
    """Make one single-frame source for each slice, whatever the real source is."""
    first = planes[0]
    between_slices = distance_between_slices_mm(findings.label_map.geometry)
    rows, columns = findings.label_map.labels.shape[1:]
    images = []
    for plane, frame_uid in zip(planes, frame_uids, strict=True):
        image = stand_in(plane.header, series_instance_uid=context.series_instance_uid)
        image.SOPClassUID = CT_IMAGE
        image.SOPInstanceUID = frame_uid
        image.FrameOfReferenceUID = value_of(first.header, "FrameOfReferenceUID") or derive_uid(
            "frame-of-reference", context.series_instance_uid
        )
        image.PositionReferenceIndicator = (
            value_of(first.header, "PositionReferenceIndicator") or ""
        )
        image.Rows, image.Columns = int(rows), int(columns)
        image.ImagePositionPatient = [format_number_as_ds(each) for each in plane.position_lps]
        # The first image's for all: `locate_planes` has seen that the others are the same.
        image.ImageOrientationPatient = [format_number_as_ds(each) for each in first.orientation]
        image.PixelSpacing = [format_number_as_ds(each) for each in first.pixel_spacing_mm]
        image.SliceThickness = format_number_as_ds(first.slice_thickness_mm or between_slices)
        image.SpacingBetweenSlices = format_number_as_ds(between_slices)
        for keyword in (
            "LossyImageCompression",
            "LossyImageCompressionRatio",
            "LossyImageCompressionMethod",
        ):
            if value_of(plane.header, keyword):
                image[keyword] = plane.header[keyword]
        images.append(image)
    return images


def _pixels(findings: Findings, numbers: dict[int, int]) -> NDArray[np.uint8]:
    """Return labels with the numbers of the SEG, or a mask for each segment if some overlap."""
    labels = findings.label_map.labels
    if findings.label_map.overlaps:
        masks = np.empty((*labels.shape, len(numbers)), np.uint8)
        for old, new in numbers.items():
            masks[..., new - 1] = findings.label_map.values_of(old)[labels]
        return masks
    if all(old == new for old, new in numbers.items()):
        return labels
    table = np.zeros(256, dtype=np.uint8)
    table[list(numbers)] = list(numbers.values())
    return table[labels]


def _describe(
    segment: Segment, number: int, findings: Findings, context: ResultContext
) -> SegmentDescription:
    model = segment.model
    description = SegmentDescription(
        segment_number=number,
        segment_label=_shortened(segment.label),
        segmented_property_category=segment.category,
        segmented_property_type=segment.property_type,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=_shortened(model.name),
            version=_shortened(model.version),
            family=model.family,
            source=_shortened(model.manufacturer),
            parameters={
                "manifest": f"sha256:{model.manifest_digest}",
                "triton_model": model.triton_model,
                "server": model.server,
            },
        ),
        tracking_uid=tracking_uid(segment, findings, context),
        tracking_id=segment.label,
        display_color=CIELabColor.from_rgb(*segment.color_rgb),
    )
    if segment.laterality is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [
            CodedConcept.from_code(segment.laterality)
        ]
    return description


def _refer_to_sources(
    made: Dataset, planes: Sequence[SourcePlane], frame_uids: Sequence[str]
) -> None:
    """Put the real instances, and frames of multi-frame ones, in place of the stand-ins."""
    by_uid = dict(zip(frame_uids, planes, strict=True))
    for group in made.PerFrameFunctionalGroupsSequence:
        for derivation in group.DerivationImageSequence:
            for item in derivation.SourceImageSequence:
                plane = by_uid.get(item.ReferencedSOPInstanceUID)
                if plane is None:
                    continue  # frames of several segments share the item: already done
                source = plane.source
                item.ReferencedSOPClassUID = source.sop_class_uid
                item.ReferencedSOPInstanceUID = source.sop_instance_uid
                if source.frame_number is not None:
                    item.ReferencedFrameNumber = source.frame_number
    instances = []
    for uid, frames in frames_by_instance([plane.source for plane in planes]).items():
        instance = Dataset()
        instance.ReferencedSOPClassUID = frames[0].sop_class_uid
        instance.ReferencedSOPInstanceUID = uid
        instances.append(instance)
    made.SourceImageSequence = instances
    made.ReferencedSeriesSequence[0].ReferencedInstanceSequence = instances


def _fix_dimension_organization(made: Dataset, uid: str) -> None:
    """Give the dimension organization the same UID at every repeat; highdicom draws one."""
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _content_label(pipeline: str) -> str:
    """Return a code string (PS3.5 6.2, VR CS) of the pipeline's name."""
    return re.sub(r"[^A-Z0-9_ ]+", "_", pipeline.upper())[:16].strip("_ ") or "SEGMENTATION"


def _shortened(text: str) -> str:
    """Return at most 64 characters, as VR LO holds (PS3.5 6.2), and no backslash."""
    clean = text.replace("\\", "/").strip()
    return clean if len(clean) <= 64 else f"{clean[:61]}..."
