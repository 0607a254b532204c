"""The sequences of a SEG that have an item a frame or a source instance, as bytes.

All else of a SEG is in `seg`, as data elements of pydicom.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from pydicom.dataelem import RawDataElement
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.valuerep import format_number_as_ds

from dicomnode.results import elements
from dicomnode.results.frames import Frame
from dicomnode.results.planes import SourcePlane, frames_by_instance

# PS3.16 CID 7203; pydicom's keyword of this name is the modality's code.
_DERIVATION: Final = Code("113076", "DCM", "Segmentation")


def long_sequences(
    frames: Iterable[Frame], planes: Sequence[SourcePlane], *, series_instance_uid: str
) -> Iterator[RawDataElement]:
    """Yield what a SEG says of each frame and of each source instance.

    Every frame takes its place and its reference from the source image of its own slice, so that
    no convention on the order of slices can come between them.

    Parameters
    ----------
    frames : iterable of Frame
        In the order of the pixels.
    planes : sequence of SourcePlane
        One a slice of the label map, in slice order.
    series_instance_uid : str
        Of the source series.

    Yields
    ------
    RawDataElement
        Already encoded: they go into the data set last, so that nothing decodes them on the way.
    """
    yield from _references(planes, series_instance_uid)
    yield elements.raw_sequence(
        "PerFrameFunctionalGroupsSequence", _functional_groups(frames, planes)
    )


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
