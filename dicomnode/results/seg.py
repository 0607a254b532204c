"""Findings -> DICOM Segmentation (SEG, PS3.3 A.51) or Label Map Segmentation, at the source matrix.

highdicom makes everything that is said once, from a single small stand-in for the source; what is
said for each frame is encoded by `long_sequences`, and the pixels by `frames`: for a series of 300
slices that is ten times as quick.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from highdicom.seg import Segmentation, SegmentationTypeValues
from pydicom.dataset import Dataset
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from dicomnode.config import SegConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import Findings
from dicomnode.model.volume import SourceFrame, VolumeGeometry
from dicomnode.results.evidence import ResultContext, result_uid
from dicomnode.results.frames import (
    Frame,
    count_segments,
    encapsulate_frames,
    has_overlaps,
    join_frames,
    label_frames,
    number_segments,
    pack_bits,
    plan_frames,
)
from dicomnode.results.long_sequences import long_sequences
from dicomnode.results.planes import SourcePlane, distance_between_slices_mm, locate_planes
from dicomnode.results.seg_options import variant_name
from dicomnode.results.segments import describe_segment, shortened
from dicomnode.results.source import complete, content_datetime, series_number, stand_in, value_of
from dicomnode.standard.sop_classes import CT_IMAGE, SEG_TRANSFER_SYNTAXES
from dicomnode.standard.uids import derive_uid

_SIDE: Final = 8
"""Rows and columns of the stand-in: nothing of it stays."""


def encode_segmentation(
    findings: Findings,
    *,
    volume_sources: tuple[SourceFrame, ...],
    evidence: Sequence[Dataset],
    context: ResultContext,
    options: SegConfig | None = None,
) -> Dataset | None:
    """Build the SEG of one series revision.

    Segments are numbered from 1 without gaps (PS3.3 C.8.20.2): `segment_numbers` states the
    mapping, and each segment keeps its Tracking UID.  Where segments overlap, each has all of its
    voxels; a LABELMAP cannot say so, and `fitting_options` gives the options that can.

    Parameters
    ----------
    findings : Findings
    volume_sources : tuple of SourceFrame
        One a slice of the label map, in slice order.
    evidence : sequence of Dataset
        Headers of all source instances, in any order.
    context : ResultContext
    options : SegConfig, optional
        What a destination wants: type, compression, empty frames and segments.  Objects of other
        options have other UIDs, compression apart, which changes nothing of what is said.

    Returns
    -------
    Dataset or None
        Ready to be written; None when no segment holds a voxel.

    Raises
    ------
    ResultError
        If label map, sources and evidence do not belong together, a source lacks what a SEG
        cannot be without, or a LABELMAP is wanted of segments that overlap.
    """
    options = options or SegConfig()
    labels = findings.label_map.labels
    counts = count_segments(findings)
    overlap = has_overlaps(findings)
    if overlap and options.type == "labelmap":
        raise ResultError("wanted segments that do not overlap for a LABELMAP, found overlaps")
    numbers = number_segments(findings, counts, keep=options.empty_segments == "keep")
    if not numbers:
        return None
    planes = locate_planes(volume_sources, evidence, findings.label_map.geometry)
    frames = plan_frames(counts, numbers, options)
    made = _template(findings, numbers, planes, context, options)
    if overlap:
        made.SegmentsOverlap = "YES"
    made.Rows, made.Columns = labels.shape[1:]
    made.NumberOfFrames = len(frames)
    made.file_meta.TransferSyntaxUID = UID(SEG_TRANSFER_SYNTAXES[options.compression])
    made.pop("DimensionOrganizationType", None)
    if options.type == "labelmap" and _is_evenly_stacked(frames, findings.label_map.geometry):
        made.DimensionOrganizationType = "3D"
    _set_pixels(made, findings, frames, numbers, options)
    complete(made, planes[0].header, context=context, models=findings.models)
    # Last, as they are bytes already: nothing may decode them on the way.
    source_series = str(made.ReferencedSeriesSequence[0].SeriesInstanceUID)
    for element in long_sequences(frames, planes, series_instance_uid=source_series):
        made[element.tag] = element
    return made


def _template(
    findings: Findings,
    numbers: dict[int, int],
    planes: Sequence[SourcePlane],
    context: ResultContext,
    options: SegConfig,
) -> Segmentation:
    """Have highdicom make all but frames, pixels and references, from one small frame."""
    segments = [segment for segment in findings.segments if segment.number in numbers]
    names = ", ".join(segment.label for segment in segments)
    header = planes[0].header
    when = content_datetime(header, context)
    kind = f"seg-{variant_name(options)}".rstrip("-")
    made = Segmentation(
        source_images=[_stand_in(planes, findings.label_map.geometry, context)],
        pixel_array=np.ones((1, _SIDE, _SIDE), dtype=np.uint8),
        segmentation_type=SegmentationTypeValues[options.type.upper()],
        segment_descriptions=[
            describe_segment(segment, numbers[segment.number], findings, context)
            for segment in segments
        ],
        series_instance_uid=result_uid(context, f"{kind}-series", findings.models),
        series_number=series_number(header, 1),
        sop_instance_uid=result_uid(context, kind, findings.models),
        instance_number=1,
        manufacturer=context.manufacturer,
        manufacturer_model_name=context.manufacturer_model_name,
        software_versions=context.software_versions,
        device_serial_number=context.device_serial_number,
        series_description=shortened(f"AI segmentation (research): {names}"),
        content_label=_content_label(context.pipeline),
        content_description=shortened(names),
        content_date=when.date(),
        content_time=when.time(),
    )
    _fix_dimension_organization(made, result_uid(context, "dimensions", findings.models))
    if options.type == "labelmap":
        # Segment 0 is the background.  OHIF 3.13 takes a segment's color from the item whose place
        # is its number: where the background comes first, every color is that of a neighbor.
        made.SegmentSequence.append(made.SegmentSequence.pop(0))
    return made


def _stand_in(
    planes: Sequence[SourcePlane], geometry: VolumeGeometry, context: ResultContext
) -> Dataset:
    """Make a small single-frame source, whatever the real ones are."""
    first = planes[0]
    between_slices = distance_between_slices_mm(geometry)
    image = stand_in(first.header, series_instance_uid=context.series_instance_uid)
    image.SOPClassUID = CT_IMAGE
    image.FrameOfReferenceUID = value_of(first.header, "FrameOfReferenceUID") or derive_uid(
        "frame-of-reference", context.series_instance_uid
    )
    image.PositionReferenceIndicator = value_of(first.header, "PositionReferenceIndicator") or ""
    image.Rows = image.Columns = _SIDE
    image.ImagePositionPatient = [format_number_as_ds(each) for each in first.position_lps]
    # The first image's for all: `locate_planes` has seen that the others are the same.
    image.ImageOrientationPatient = [format_number_as_ds(each) for each in first.orientation]
    image.PixelSpacing = [format_number_as_ds(each) for each in first.pixel_spacing_mm]
    image.SliceThickness = format_number_as_ds(first.slice_thickness_mm or between_slices)
    image.SpacingBetweenSlices = format_number_as_ds(between_slices)
    for plane in planes:
        if value_of(plane.header, "LossyImageCompression") == "01":
            # What was lost once, in whichever image, is lost in what is made of it.
            for keyword in (
                "LossyImageCompression",
                "LossyImageCompressionRatio",
                "LossyImageCompressionMethod",
            ):
                if value_of(plane.header, keyword):
                    image[keyword] = plane.header[keyword]
            break
    return image


def _is_evenly_stacked(frames: Sequence[Frame], geometry: VolumeGeometry) -> bool:
    """Whether the frames are evenly spaced along their normal: what 3D means (PS3.3 C.7.6.17.2)."""
    if geometry.slice_places is not None:
        return False
    is_contiguous = frames[-1].slice_index - frames[0].slice_index == len(frames) - 1
    step_mm = float(np.linalg.norm(geometry.affine_ijk_to_lps[:3, 2]))
    return is_contiguous and step_mm - distance_between_slices_mm(geometry) < 1e-3 * step_mm


def _set_pixels(
    made: Dataset,
    findings: Findings,
    frames: list[Frame],
    numbers: dict[int, int],
    options: SegConfig,
) -> None:
    labels = findings.label_map.labels
    if options.type == "binary":
        made.PixelData = pack_bits(labels, frames, findings.label_map.overlaps)
        return
    planes = label_frames(labels, frames, numbers)
    syntax = UID(SEG_TRANSFER_SYNTAXES[options.compression])
    if not syntax.is_encapsulated:
        made.PixelData = join_frames(planes)
        return
    made.PixelData = encapsulate_frames(planes, syntax)
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True


def _fix_dimension_organization(made: Dataset, uid: str) -> None:
    """Give the dimension organization the same UID at every repeat; highdicom draws one."""
    for item in (*made.DimensionOrganizationSequence, *made.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid


def _content_label(pipeline: str) -> str:
    """Return a code string (PS3.5 6.2, VR CS) of the pipeline's name."""
    return re.sub(r"[^A-Z0-9_ ]+", "_", pipeline.upper())[:16].strip("_ ") or "SEGMENTATION"
