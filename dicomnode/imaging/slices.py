"""One slice of CT: what its header says, checked, and where its pixels lie in the file.

Reads headers only; `pixels` reads the pixels, `geometry` decides whether slices make a volume.
Runs in the calling thread and keeps no file open.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.uid import ExplicitVRBigEndian

from dicomnode.errors import PixelsUnreadable, UnsupportedImage
from dicomnode.imaging.attributes import Attributes
from dicomnode.imaging.elements import UNDEFINED_LENGTH, FileHeader
from dicomnode.imaging.header import read_header
from dicomnode.imaging.multiframe import frame_items
from dicomnode.standard.sop_classes import (
    CT_IMAGE,
    CT_SOP_CLASSES,
    CT_TRANSFER_SYNTAXES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)
from dicomnode.standard.uids import is_valid_uid

MAX_MATRIX: Final = 8192
"""Rows or columns beyond this are a fault or an attack: the largest CT matrix sold is 2048."""

COSINE_TOLERANCE: Final = 0.01
"""How far direction cosines may be from unit length and a right angle: they are written rounded."""

PIXEL_SPACING_MM: Final = (0.001, 100.0)
"""Between micro-CT and nonsense."""

MAX_POSITION_MM: Final = 1e5
"""No patient lies further than 100 m from the origin of the patient space."""

MAX_RESCALE: Final = 1e6
"""Largest Rescale Slope or Intercept: any larger would leave no bit of the stored value."""

_NATIVE: Final = (IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN, str(ExplicitVRBigEndian))
_ALWAYS_LOSSY: Final = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_HU_TYPES: Final = ("HU", "US")

VARIANT_KEYWORDS: Final = (
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "ConvolutionKernel",
    "KVP",
    "ContrastBolusAgent",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "DiffusionBValue",
    "StackID",
)
"""What can tell two images of one position apart, the most telling first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPixels:
    """How pixel values are stored and what they mean (PS3.3 C.7.6.3, C.7.5.1.1.2, C.11.1).

    Attributes
    ----------
    bits_allocated, bits_stored, high_bit : int
    is_signed : bool
        Pixel Representation: two's complement.
    padding : tuple of int, or None
        Pixel Padding Value and Range Limit (the same twice where there is no limit), as written.
    rescale_slope, rescale_intercept : float
        To Hounsfield units.
    """

    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    padding: tuple[int, int] | None
    rescale_slope: float
    rescale_intercept: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One image of a CT series: a single-frame instance or one frame of a multi-frame instance.

    Attributes
    ----------
    path : pathlib.Path
    sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid : str
    frame_number : int or None
        One-based; None for a single-frame instance.
    frame_of_reference_uid : str or None
    transfer_syntax_uid : str
    image_type : tuple of str
    instance_number, acquisition_number : int or None
    rows, columns : int
    pixel_spacing_mm : tuple of float
        Distance between rows, then distance between columns (PS3.3 10.7.1.3).
    orientation_lps : tuple of float
        Unit vectors: along a row (column index grows), then along a column (row index grows).
    position_lps : tuple of float
        Center of the first pixel, mm (PS3.3 C.7.6.2.1.1).
    stored : StoredPixels
    is_lossy : bool
        Whether it ever was compressed with loss (PS3.3 C.7.6.1.1.5).
    has_unspecified_rescale : bool
        Rescale Type is US: taken as Hounsfield units.
    pixels_offset : int or None
        Where the frame's bytes begin in the file; None where they must be decoded.
    variants : tuple of (str, str)
        Those of `VARIANT_KEYWORDS` that the image has, with their values.
    acquired_at : str
        Date and time of acquisition as written, only to be compared.
    pixels_fault : str or None
        What is wrong with Pixel Data although the header is sound: absent or short.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    frame_number: int | None
    frame_of_reference_uid: str | None
    transfer_syntax_uid: str
    image_type: tuple[str, ...]
    instance_number: int | None
    acquisition_number: int | None
    rows: int
    columns: int
    pixel_spacing_mm: tuple[float, float]
    orientation_lps: tuple[float, float, float, float, float, float]
    position_lps: tuple[float, float, float]
    stored: StoredPixels
    is_lossy: bool
    has_unspecified_rescale: bool
    pixels_offset: int | None
    variants: tuple[tuple[str, str], ...] = ()
    acquired_at: str = ""
    pixels_fault: str | None = None

    @property
    def label(self) -> str:
        """How errors name this slice; nothing of a patient."""
        frame = "" if self.frame_number is None else f" frame {self.frame_number}"
        return f"SOP Instance {self.sop_instance_uid}{frame}"


def read_slice(path: Path) -> Slice:
    """Read the header of a single-frame CT image.

    Returns
    -------
    Slice

    Raises
    ------
    UnsupportedImage
        If it is no CT image, has several frames, is a localizer, or lacks something that a slice
        of a volume must have (PS3.3 A.3, C.7.6.2, C.8.2.1).
    PixelsUnreadable
        If the file cannot be read, or Pixel Data is absent or shorter than the matrix.
    """
    slices = read_slices(path)
    if len(slices) != 1:
        raise UnsupportedImage(
            f"SOP Instance {slices[0].sop_instance_uid}: wanted 1 frame, found {len(slices)}"
        )
    return slices[0]


def read_slices(path: Path) -> tuple[Slice, ...]:
    """Read the header of a CT image; a multi-frame instance gives one slice a frame.

    Returns
    -------
    tuple of Slice
        In frame order.

    Raises
    ------
    UnsupportedImage, PixelsUnreadable
        As `read_slice`.
    """
    found = parse_slices(path, read_header(path))
    for each in found:
        if each.pixels_fault is not None:
            raise PixelsUnreadable(f"{each.label}: {each.pixels_fault}")
    return found


def parse_slices(path: Path, header: FileHeader) -> tuple[Slice, ...]:
    """Describe the slices of a CT image whose header was read, also those without usable pixels.

    Returns
    -------
    tuple of Slice
        In frame order; their `pixels_fault` is to be heeded.

    Raises
    ------
    UnsupportedImage
        As `read_slice`.
    """
    whole = whole_attributes(header)
    sop_class_uid = whole.uid("SOPClassUID")
    if sop_class_uid not in CT_SOP_CLASSES:
        raise UnsupportedImage(f"{whole.label}: wanted a CT image, found SOP Class {sop_class_uid}")
    whole.uid("SOPInstanceUID")
    if sop_class_uid == CT_IMAGE:
        return (_slice(path, header, whole, None),)
    groups = frame_items(whole)
    return tuple(
        _slice(
            path,
            header,
            Attributes(items=(*items, header.attributes), label=f"{whole.label} frame {number}"),
            (number, len(groups)),
        )
        for number, items in enumerate(groups, start=1)
    )


def whole_attributes(header: FileHeader) -> Attributes:
    """Return the attributes of an instance, under the name that errors give it."""
    uid = Attributes(items=(header.attributes,), label="an instance").text("SOPInstanceUID")
    label = f"SOP Instance {uid}" if is_valid_uid(uid) else "an instance without a valid UID"
    return Attributes(items=(header.attributes,), label=label)


def is_localizer(image_type: tuple[str, ...]) -> bool:
    """Whether Image Type says localizer (PS3.3 C.8.2.1.1.1)."""
    return "LOCALIZER" in image_type


def image_type_of(attributes: Attributes) -> tuple[str, ...]:
    """Return Frame Type or Image Type, in capital letters."""
    return tuple(
        value.upper() for value in attributes.texts("FrameType") or attributes.texts("ImageType")
    )


def _slice(
    path: Path,
    header: FileHeader,
    attributes: Attributes,
    frame: tuple[int, int] | None,
) -> Slice:
    """Check one image and describe it; `frame` is its number and the number of frames."""
    label = attributes.label
    image_type = image_type_of(attributes)
    if is_localizer(image_type):
        raise UnsupportedImage(f"{label}: wanted a slice, found a localizer in Image Type")
    transfer_syntax_uid = header.transfer_syntax_uid
    if transfer_syntax_uid not in CT_TRANSFER_SYNTAXES:
        found = transfer_syntax_uid if is_valid_uid(transfer_syntax_uid) else "something else"
        raise UnsupportedImage(f"{label}: wanted a transfer syntax of CT, found {found}")
    orientation = _orientation(attributes)
    row_spacing, column_spacing = attributes.numbers("PixelSpacing", 2)
    lowest, highest = PIXEL_SPACING_MM
    if (
        not lowest
        <= min(row_spacing, column_spacing)
        <= max(row_spacing, column_spacing)
        <= highest
    ):
        raise UnsupportedImage(
            f"{label}: wanted Pixel Spacing from {lowest:g} to {highest:g} mm, "
            f"found {row_spacing:g}, {column_spacing:g}"
        )
    rows = attributes.integer("Rows", lowest=1, highest=MAX_MATRIX)
    columns = attributes.integer("Columns", lowest=1, highest=MAX_MATRIX)
    stored = _stored_pixels(attributes)
    x, y, z = attributes.numbers("ImagePositionPatient", 3)
    if max(abs(x), abs(y), abs(z)) > MAX_POSITION_MM:
        raise UnsupportedImage(
            f"{label}: wanted Image Position (Patient) within {MAX_POSITION_MM:g} mm, "
            f"found {x:g}, {y:g}, {z:g}"
        )
    frame_bytes = rows * columns * stored.bits_allocated // 8
    pixels_offset, pixels_fault = _locate_pixels(header, frame_bytes, frame)
    return Slice(
        path=path,
        sop_class_uid=attributes.uid("SOPClassUID"),
        sop_instance_uid=attributes.uid("SOPInstanceUID"),
        study_instance_uid=attributes.uid("StudyInstanceUID"),
        series_instance_uid=attributes.uid("SeriesInstanceUID"),
        frame_number=None if frame is None else frame[0],
        frame_of_reference_uid=attributes.optional_uid("FrameOfReferenceUID"),
        transfer_syntax_uid=transfer_syntax_uid,
        image_type=image_type,
        instance_number=attributes.optional_integer("InstanceNumber"),
        acquisition_number=attributes.optional_integer("AcquisitionNumber"),
        rows=rows,
        columns=columns,
        pixel_spacing_mm=(row_spacing, column_spacing),
        orientation_lps=orientation,
        position_lps=(x, y, z),
        stored=stored,
        is_lossy=transfer_syntax_uid in _ALWAYS_LOSSY
        or attributes.text("LossyImageCompression") == "01",
        has_unspecified_rescale=attributes.text("RescaleType") == "US",
        pixels_offset=pixels_offset,
        variants=tuple(
            (keyword, value) for keyword in VARIANT_KEYWORDS if (value := attributes.text(keyword))
        ),
        acquired_at=attributes.text("AcquisitionDateTime")
        or attributes.text("AcquisitionDate") + attributes.text("AcquisitionTime"),
        pixels_fault=pixels_fault,
    )


def _orientation(attributes: Attributes) -> tuple[float, float, float, float, float, float]:
    """Return the direction cosines, scaled to unit length."""
    cosines = np.array(attributes.numbers("ImageOrientationPatient", 6)).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1)
    slant = abs(float(cosines[0] @ cosines[1]))
    if np.abs(lengths - 1).max() > COSINE_TOLERANCE or slant > COSINE_TOLERANCE:
        raise UnsupportedImage(
            f"{attributes.label}: wanted two unit vectors at a right angle in Image Orientation "
            f"(Patient), found lengths {lengths[0]:.3f}, {lengths[1]:.3f} and product {slant:.3f}"
        )
    a, b, c, d, e, f = (float(value) for value in (cosines / lengths[:, None]).ravel())
    return a, b, c, d, e, f


def _stored_pixels(attributes: Attributes) -> StoredPixels:
    """Check how pixels are stored and that they can be rescaled to Hounsfield units."""
    label = attributes.label
    attributes.integer("SamplesPerPixel", lowest=1, highest=1)
    if not attributes.text("PhotometricInterpretation").startswith("MONOCHROME"):
        raise UnsupportedImage(f"{label}: wanted MONOCHROME1 or 2 in Photometric Interpretation")
    allocated = attributes.integer("BitsAllocated", lowest=8, highest=16)
    if allocated % 8:
        raise UnsupportedImage(f"{label}: wanted 8 or 16 Bits Allocated, found {allocated}")
    bits = attributes.integer("BitsStored", lowest=1, highest=allocated)
    rescale_type = attributes.text("RescaleType")
    if rescale_type and rescale_type not in _HU_TYPES:
        raise UnsupportedImage(f"{label}: wanted HU in Rescale Type, found another unit")
    if attributes.values("ModalityLUTSequence"):
        raise UnsupportedImage(f"{label}: wanted Rescale Slope, found a Modality LUT Sequence")
    slope = attributes.number("RescaleSlope")
    intercept = attributes.number("RescaleIntercept")
    if slope == 0 or max(abs(slope), abs(intercept)) > MAX_RESCALE:
        raise UnsupportedImage(
            f"{label}: wanted a Rescale Slope other than 0 and an Intercept, both within "
            f"{MAX_RESCALE:g}, found {slope:g} and {intercept:g}"
        )
    return StoredPixels(
        bits_allocated=allocated,
        bits_stored=bits,
        high_bit=attributes.integer("HighBit", lowest=bits - 1, highest=allocated - 1),
        is_signed=attributes.integer("PixelRepresentation", lowest=0, highest=1) == 1,
        padding=_padding(attributes),
        rescale_slope=slope,
        rescale_intercept=intercept,
    )


def _padding(attributes: Attributes) -> tuple[int, int] | None:
    value = attributes.optional_integer("PixelPaddingValue")
    if value is None:
        return None
    limit = attributes.optional_integer("PixelPaddingRangeLimit")
    return value, value if limit is None else limit


def _locate_pixels(
    header: FileHeader, frame_bytes: int, frame: tuple[int, int] | None
) -> tuple[int | None, str | None]:
    """Say where the bytes of a frame are, None if they must be decoded, and what they lack."""
    element = header.pixels
    if element is None:
        return None, "wanted Pixel Data, found none"
    if header.transfer_syntax_uid not in _NATIVE or element.offset is None:
        return None, None
    if element.length == UNDEFINED_LENGTH:
        return None, "wanted native Pixel Data, found encapsulated"
    number, count = frame or (1, 1)
    found = min(element.length, element.room)
    if found < frame_bytes * count:
        return None, f"wanted {frame_bytes * count} bytes of Pixel Data, found {found}"
    return element.offset + frame_bytes * (number - 1), None
