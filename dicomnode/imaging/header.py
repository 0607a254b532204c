"""The header of an instance file: the attributes that slices need, and where Pixel Data lies.

Checks no values.  Every way in which a hostile file can break pydicom's parser ends here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicomnode.errors import PixelsUnreadable
from dicomnode.standard.sop_classes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
"""The length of encapsulated Pixel Data (PS3.5 A.4)."""

_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00"
_PIXEL_VRS: Final = (b"OB", b"OW", b"UN")
_HEADER_KEYWORDS: Final = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ImageType",
    "InstanceNumber",
    "AcquisitionNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "LossyImageCompression",
    "NumberOfFrames",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_HEADER_TAGS: Final = [tag for tag in map(tag_for_keyword, _HEADER_KEYWORDS) if tag is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where the value of Pixel Data lies.

    Attributes
    ----------
    offset : int or None
        In the file; None in a deflated data set.
    length : int
        As the element says, in bytes.
    room : int
        From the offset to the end of the file, in bytes.
    """

    offset: int | None
    length: int
    room: int


def read_header(path: Path) -> tuple[Dataset, PixelElement | None]:
    """Read the attributes before Pixel Data and find the value of Pixel Data.

    Returns
    -------
    ds : pydicom.Dataset
        Only what slices need; its file meta information names a transfer syntax, always.
    element : PixelElement or None
        None where there is no Pixel Data.

    Raises
    ------
    PixelsUnreadable
        If the file cannot be read or parsed.
    """
    try:
        with path.open("rb") as file:
            ds = pydicom.dcmread(
                file, stop_before_pixels=True, specific_tags=_HEADER_TAGS, force=True
            )
            ds.file_meta.setdefault("TransferSyntaxUID", _guessed_transfer_syntax(ds))
            return ds, _find_pixels(file, ds)
    except OSError as error:
        raise PixelsUnreadable(f"an instance file cannot be read: {error.strerror}") from error
    except Exception as error:  # noqa: BLE001 - hostile files make pydicom raise nearly anything
        # Neither text nor chain: pydicom's messages quote the values they stumble over.
        raise PixelsUnreadable(
            f"an instance file cannot be parsed: {type(error).__name__}"
        ) from None


def _guessed_transfer_syntax(ds: Dataset) -> str:
    """Return what pydicom found the encoding to be, for files without file meta information."""
    is_implicit, is_little_endian = ds.original_encoding
    if not is_little_endian:
        return str(ExplicitVRBigEndian)
    return IMPLICIT_VR_LITTLE_ENDIAN if is_implicit else EXPLICIT_VR_LITTLE_ENDIAN


def _find_pixels(file: BinaryIO, ds: Dataset) -> PixelElement | None:
    """Parse the header of Pixel Data, before which pydicom stopped (PS3.5 7.1)."""
    if ds.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        return PixelElement(offset=None, length=0, room=0)
    is_implicit, is_little_endian = ds.original_encoding
    order = "<" if is_little_endian else ">"
    head = file.read(12)
    tag = _PIXEL_DATA if is_little_endian else b"\x7f\xe0\x00\x10"
    if len(head) < 12 or head[:4] != tag or not (is_implicit or head[4:6] in _PIXEL_VRS):
        return None
    at = 4 if is_implicit else 8
    (length,) = struct.unpack(f"{order}L", head[at : at + 4])
    offset = file.tell() - (4 if is_implicit else 0)
    return PixelElement(offset=offset, length=length, room=file.seek(0, 2) - offset)
