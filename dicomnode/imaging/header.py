"""The header of an instance file: the attributes that slices need, and where Pixel Data lies.

Checks no values.  Plain files are walked by `walking`, whatever is unusual is parsed by pydicom
here.  Every way in which a hostile file can break either ends here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final

import pydicom
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.filereader import read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicomnode.errors import PixelsUnreadable
from dicomnode.imaging.elements import PIXEL_VRS, FileHeader, PixelElement
from dicomnode.imaging.walking import walk
from dicomnode.standard.sop_classes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

_PIXEL_DATA: Final = b"\xe0\x7f\x10\x00"
_HEADER_KEYWORDS: Final = (
    "SpecificCharacterSet",
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
    "AcquisitionDate",
    "AcquisitionTime",
    "AcquisitionDateTime",
    "ConvolutionKernel",
    "KVP",
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "DiffusionBValue",
    "ContrastBolusAgent",
    "SliceThickness",
    "SeriesDescription",
    "GantryDetectorTilt",
    "ModalityLUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)

_FIRST_READ_BYTES: Final = 32 * 1024
"""The header of nearly every CT image fits."""

_LONGEST_WALK_BYTES: Final = 4 * 1024 * 1024
"""A header longer than this is left to pydicom."""


@cache
def tags_of(keywords: Iterable[str]) -> frozenset[int]:
    """Return the tags of the slices' own keywords and of some more."""
    tags = (tag_for_keyword(each) for each in (*_HEADER_KEYWORDS, *keywords))
    return frozenset(tag for tag in tags if tag is not None)


def read_header(path: Path, more_keywords: tuple[str, ...] = ()) -> FileHeader:
    """Read the attributes before Pixel Data and find the value of Pixel Data.

    Parameters
    ----------
    path : Path
    more_keywords : tuple of str
        Attributes wanted beside those that slices need.

    Returns
    -------
    FileHeader

    Raises
    ------
    PixelsUnreadable
        If the file cannot be read or parsed.
    """
    tags = tags_of(more_keywords)
    try:
        with path.open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            file.seek(0)
            head = file.read(_FIRST_READ_BYTES)
            found = walk(head, size, tags)
            if found is None and size > _FIRST_READ_BYTES:
                file.seek(0)
                found = walk(file.read(_LONGEST_WALK_BYTES), size, tags)
            if found is not None:
                return found
        with path.open("rb") as buffered:
            return _parse(buffered, tags)
    except OSError as error:
        raise PixelsUnreadable(f"an instance file cannot be read: {error.strerror}") from error
    except PixelsUnreadable:
        raise
    except Exception as error:  # noqa: BLE001 - hostile files make pydicom raise nearly anything
        # Neither text nor chain: pydicom's messages quote the values they stumble over.
        raise PixelsUnreadable(
            f"an instance file cannot be parsed: {type(error).__name__}"
        ) from None


# -- pydicom


def _parse(file: BinaryIO, tags: frozenset[int]) -> FileHeader:
    """Parse with pydicom whatever was too unusual to walk."""
    inflated = _inflated(file)
    source: BinaryIO = file if inflated is None else inflated
    ds = pydicom.dcmread(source, stop_before_pixels=True, specific_tags=sorted(tags), force=True)
    if inflated is not None:
        return FileHeader(
            attributes=ds,
            transfer_syntax_uid=str(DeflatedExplicitVRLittleEndian),
            pixels=PixelElement(offset=None, length=0, room=0),
        )
    ds.file_meta.setdefault("TransferSyntaxUID", _guessed_transfer_syntax(ds))
    return FileHeader(
        attributes=ds,
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        pixels=_find_pixels(file, ds),
    )


def _inflated(file: BinaryIO) -> BytesIO | None:
    """Return a deflated data set inflated, as far as headers reach; None of any other file."""
    try:
        read_preamble(file, force=False)
        meta = pydicom.filereader._read_file_meta_info(file)  # noqa: SLF001 - leaves the file at the data set
        is_deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        rest = file.read() if is_deflated else b""
    except pydicom.errors.InvalidDicomError:
        is_deflated, rest = False, b""
    file.seek(0)
    if not is_deflated:
        return None
    return BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(rest, _LONGEST_WALK_BYTES))


def _guessed_transfer_syntax(ds: Dataset) -> str:
    """Return what pydicom found the encoding to be, for files without file meta information."""
    is_implicit, is_little_endian = ds.original_encoding
    if not is_little_endian:
        return str(ExplicitVRBigEndian)
    return IMPLICIT_VR_LITTLE_ENDIAN if is_implicit else EXPLICIT_VR_LITTLE_ENDIAN


def _find_pixels(file: BinaryIO, ds: Dataset) -> PixelElement | None:
    """Parse the header of Pixel Data, before which pydicom stopped (PS3.5 7.1)."""
    is_implicit, is_little_endian = ds.original_encoding
    order = "<" if is_little_endian else ">"
    head = file.read(12)
    tag = _PIXEL_DATA if is_little_endian else b"\x7f\xe0\x00\x10"
    if len(head) < 12 or head[:4] != tag or not (is_implicit or head[4:6] in PIXEL_VRS):
        return None
    at = 4 if is_implicit else 8
    (length,) = struct.unpack(f"{order}L", head[at : at + 4])
    offset = file.tell() - (4 if is_implicit else 0)
    return PixelElement(offset=offset, length=length, room=file.seek(0, 2) - offset)
