"""Findings -> DICOM Segmentation (SEG, PS3.3 A.51) or Label Map Segmentation, at the source matrix.

highdicom makes everything that is said once, from a single small stand-in for the source; what is
said for each frame, and the pixels, are written here: for a series of 300 slices that is ten times
as quick.  Every frame takes its place and its reference from the source image of its own slice, so
that no convention on the order of slices can come between them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

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
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import UID
from pydicom.valuerep import format_number_as_ds

from dicomnode.config import SegConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import Findings, Segment
from dicomnode.model.volume import SourceFrame, VolumeGeometry
from dicomnode.results import elements
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
from dicomnode.results.planes import (
    SourcePlane,
    distance_between_slices_mm,
    frames_by_instance,
    locate_planes,
)
from dicomnode.results.source import complete, content_datetime, series_number, stand_in, value_of
from dicomnode.standard.sop_classes import CT_IMAGE, SEG_TRANSFER_SYNTAXES
from dicomnode.standard.uids import derive_uid

# PS3.16 CID 7203; pydicom's keyword of this name is the modality's code.
_DERIVATION: Final = Code("113076", "DCM", "Segmentation")

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
    for element in (
        *_references(planes, source_series),
        elements.raw_sequence(
            "PerFrameFunctionalGroupsSequence", _functional_groups(frames, planes)
        ),
    ):
        made[element.tag] = element
    return made


def segment_numbers(findings: Findings, options: SegConfig | None = None) -> dict[int, int]:
    """Map each label of the findings that is in the SEG to its Segment Number there.

    Raises
    ------
    ResultError
        If the label map holds a value that no segment describes.
    """
    keep = options is not None and options.empty_segments == "keep"
    return number_segments(findings, count_segments(findings), keep=keep)


def fitting_options(options: SegConfig, findings: Findings) -> SegConfig:
    """Return the options, or those of a BINARY SEG where the findings cannot be a LABELMAP.

    Segments of a LABELMAP must not overlap (Segments Overlap, PS3.3 C.8.20.2).  To keep only the
    uppermost would take from a lung the voxels of its lesions, and the volumes in the report would
    be none of the segments that they refer to.
    """
    is_fit = options.type == "binary" or not has_overlaps(findings)
    return options if is_fit else as_binary(options)


def as_binary(options: SegConfig) -> SegConfig:
    """Return the same options for a BINARY SEG, which knows no compression frame by frame."""
    if options.type == "binary":
        return options
    compression = "deflate" if options.compression == "deflate" else "none"
    return options.model_copy(update={"type": "binary", "compression": compression})


def variant_name(options: SegConfig) -> str:
    """Return what tells the SEG of these options from the default's, empty for the default.

    Part of its UIDs: an object that says something else must not bear the same.
    """
    parts = (
        ("labelmap", options.type == "labelmap"),
        ("all-frames", not options.omit_empty_frames),
        ("all-segments", options.empty_segments == "keep"),
    )
    return "-".join(name for name, holds in parts if holds)


def tracking_uid(segment: Segment, findings: Findings, context: ResultContext) -> str:
    """Return the Tracking UID that SEG and SR give a segment (PS3.3 C.8.20.2)."""
    return result_uid(context, f"tracking-segment-{segment.number}", findings.models)


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
            _describe(segment, numbers[segment.number], findings, context) for segment in segments
        ],
        series_instance_uid=result_uid(context, f"{kind}-series", findings.models),
        series_number=series_number(header, 1),
        sop_instance_uid=result_uid(context, kind, findings.models),
        instance_number=1,
        manufacturer=context.manufacturer,
        manufacturer_model_name=context.manufacturer_model_name,
        software_versions=context.software_versions,
        device_serial_number=context.device_serial_number,
        series_description=_shortened(f"AI segmentation (research): {names}"),
        content_label=_content_label(context.pipeline),
        content_description=_shortened(names),
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


def _functional_groups(frames: Iterable[Frame], planes: Sequence[SourcePlane]) -> Iterator[bytes]:
    """Encode an item of the Per-Frame Functional Groups Sequence a frame (PS3.3 C.7.6.16)."""
    of_slice: dict[int, tuple[bytes, bytes]] = {}
    for frame in frames:
        if frame.slice_index not in of_slice:
            of_slice[frame.slice_index] = _place(planes[frame.slice_index])
        derivation, position = of_slice[frame.slice_index]
        indices = (frame.segment_number, frame.position) if frame.label else (frame.position,)
        yield elements.item(
            derivation,
            elements.sequence(
                "FrameContentSequence",
                elements.item(elements.numbers("DimensionIndexValues", "UL", *indices)),
            ),
            position,
            elements.sequence(
                "SegmentIdentificationSequence",
                elements.item(
                    elements.numbers("ReferencedSegmentNumber", "US", frame.segment_number)
                ),
            )
            if frame.label
            else b"",
        )


def _place(plane: SourcePlane) -> tuple[bytes, bytes]:
    """Encode what holds for every frame of a slice: the source it was made from, and where."""
    source = plane.source
    reference = [
        elements.text("ReferencedSOPClassUID", "UI", source.sop_class_uid),
        elements.text("ReferencedSOPInstanceUID", "UI", source.sop_instance_uid),
    ]
    if source.frame_number is not None:
        reference.append(elements.text("ReferencedFrameNumber", "IS", str(source.frame_number)))
    derivation = elements.sequence(
        "DerivationImageSequence",
        elements.item(
            elements.sequence(
                "SourceImageSequence",
                elements.item(
                    *reference,
                    elements.text("SpatialLocationsPreserved", "CS", "YES"),
                    _code(
                        "PurposeOfReferenceCodeSequence",
                        codes.DCM.SourceImageForImageProcessingOperation,
                    ),
                ),
            ),
            _code("DerivationCodeSequence", _DERIVATION),
        ),
    )
    where = [format_number_as_ds(each) for each in plane.position_lps]
    position = elements.sequence(
        "PlanePositionSequence", elements.item(elements.text("ImagePositionPatient", "DS", *where))
    )
    return derivation, position


def _references(
    planes: Sequence[SourcePlane], series_instance_uid: str
) -> Iterator[RawDataElement]:
    """Name every source instance once: for the series (PS3.3 C.12.4) and for the image."""
    instances = [
        elements.item(
            elements.text("ReferencedSOPClassUID", "UI", sources[0].sop_class_uid),
            elements.text("ReferencedSOPInstanceUID", "UI", uid),
        )
        for uid, sources in frames_by_instance([plane.source for plane in planes]).items()
    ]
    yield elements.raw_sequence(
        "ReferencedSeriesSequence",
        [
            elements.item(
                elements.sequence("ReferencedInstanceSequence", *instances),
                elements.text("SeriesInstanceUID", "UI", series_instance_uid),
            )
        ],
    )
    yield elements.raw_sequence("SourceImageSequence", instances)


def _code(keyword: str, code: Code) -> bytes:
    return elements.sequence(
        keyword,
        elements.item(
            elements.text("CodeValue", "SH", code.value),
            elements.text("CodingSchemeDesignator", "SH", code.scheme_designator),
            elements.text("CodeMeaning", "LO", code.meaning),
        ),
    )


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
