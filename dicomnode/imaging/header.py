"""The header of an instance file: the attributes that slices need, and where Pixel Data lies.

Checks no values.  Plain little-endian files are walked here, element by element, in the first
kilobytes of the file: that is many times faster than a general parser and all that most CT needs.
Whatever is unusual is left to pydicom.  Every way in which a hostile file can break either ends
here.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, Protocol

import pydicom
from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filereader import read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicomnode.errors import PixelsUnreadable
from dicomnode.standard.sop_classes import (
    CT_TRANSFER_SYNTAXES,
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
)

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

_LONGEST_INFLATED_BYTES: Final = 1024**3
"""A deflated data set that inflates to more is an attack: no CT image is as large."""

_DEEPEST_SEQUENCE: Final = 16

_MAGIC_OFFSET: Final = 128
_META_OFFSET: Final = 132
_META_GROUP_LENGTH: Final = b"\x02\x00\x00\x00UL\x04\x00"
_TRANSFER_SYNTAX_UID: Final = 0x00020010
_PIXEL_DATA_TAG: Final = 0x7FE00010
_ITEM: Final = 0xFFFEE000
_ITEM_END: Final = 0xFFFEE00D
_SEQUENCE_END: Final = 0xFFFEE0DD

_LONG_VRS: Final = frozenset(
    (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
)
"""Value representations with a length of 32 bits (PS3.5 7.1.2)."""

_SHORT_VRS: Final = {
    each.encode("ascii"): each
    for each in [
        "AE",
        "AS",
        "AT",
        "CS",
        "DA",
        "DS",
        "DT",
        "FL",
        "FD",
        "IS",
        "LO",
        "LT",
        "PN",
        "SH",
        "SL",
        "SS",
        "ST",
        "TM",
        "UI",
        "UL",
        "US",
    ]
}
_EXPLICIT: Final = struct.Struct("<HH2sH")
_IMPLICIT: Final = struct.Struct("<HHL")
_LENGTH: Final = struct.Struct("<L")
_WALKED: Final = frozenset(
    each
    for each in CT_TRANSFER_SYNTAXES
    if each not in (str(ExplicitVRBigEndian), str(DeflatedExplicitVRLittleEndian))
)


class Header(Protocol):
    """Where attributes are looked up; `pydicom.Dataset` is one."""

    def get_item(self, key: BaseTag) -> RawDataElement | DataElement | None:
        """Return an element as it is encoded, or None."""

    def __getitem__(self, key: BaseTag) -> DataElement:
        """Return an element, decoded."""


@dataclass(frozen=True, slots=True)
class WalkedHeader:
    """The elements of a header that was walked, no sequence among them."""

    elements: Mapping[int, RawDataElement]

    def get_item(self, key: BaseTag) -> RawDataElement | None:
        """Return an element as it is encoded, or None."""
        return self.elements.get(key)

    def __getitem__(self, key: BaseTag) -> DataElement:
        """Return an element, decoded."""
        return DataElement(key, self.elements[key].VR or "UN", self.elements[key].value)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What stands before Pixel Data.

    Attributes
    ----------
    attributes : Header
        Only what was asked for.
    transfer_syntax_uid : str
        As the file says, or as it was found to be encoded.
    pixels : PixelElement or None
        None where there is no Pixel Data.
    """

    attributes: Header
    transfer_syntax_uid: str
    pixels: PixelElement | None


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
            found = _walk(head, size, tags)
            if found is None and size > _FIRST_READ_BYTES:
                file.seek(0)
                found = _walk(file.read(_LONGEST_WALK_BYTES), size, tags)
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


# -- walking


class _UnusualError(Exception):
    """The walk met something that it leaves to pydicom."""


def _walk(head: bytes, file_size: int, tags: frozenset[int]) -> FileHeader | None:
    """Find the wanted elements in the beginning of a file; None where it is anything unusual."""
    try:
        syntax, at = _walk_meta(head)
        is_implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
        elements, at = _walk_elements(head, at, file_size, tags, is_implicit=is_implicit)
        pixels = None
        if at < file_size:
            tag, vr, length, value = (_read_implicit if is_implicit else _read_explicit)(head, at)
            if tag == _PIXEL_DATA_TAG and (vr is None or vr in _PIXEL_VRS):
                pixels = PixelElement(offset=value, length=length, room=file_size - value)
    except (_UnusualError, struct.error):
        return None
    return FileHeader(attributes=WalkedHeader(elements), transfer_syntax_uid=syntax, pixels=pixels)


def _walk_elements(
    head: bytes, at: int, file_size: int, tags: frozenset[int], *, is_implicit: bool
) -> tuple[dict[int, RawDataElement], int]:
    """Return the wanted elements, and where the first element from Pixel Data on begins."""
    elements: dict[int, RawDataElement] = {}
    read = _read_implicit if is_implicit else _read_explicit
    last = 0
    while at < file_size:
        tag, vr, length, value = read(head, at)
        if tag >= _PIXEL_DATA_TAG:
            return elements, at
        is_wanted = tag in tags
        is_sequence = vr == b"SQ" or tag in _sequence_tags()
        if tag <= last or (is_wanted and (is_sequence or length > len(head) - value)):
            raise _UnusualError
        last = tag
        if length == UNDEFINED_LENGTH:
            if vr == b"UN":
                raise _UnusualError
            at = _after_sequence(head, value, is_implicit=is_implicit, depth=1)
            continue
        at = value + length
        if is_wanted:
            name = None if vr is None else _SHORT_VRS.get(vr) or vr.decode("ascii")
            elements[tag] = RawDataElement(
                _as_tag(tag), name, length, head[value:at], value, is_implicit, True
            )
    return elements, at


def _walk_meta(head: bytes) -> tuple[str, int]:
    """Return the transfer syntax and where the data set begins (PS3.10 7.1)."""
    begin = _META_OFFSET + 12
    if head[_MAGIC_OFFSET:_META_OFFSET] != b"DICM" or not head.startswith(
        _META_GROUP_LENGTH, _META_OFFSET
    ):
        raise _UnusualError
    end = begin + _LENGTH.unpack_from(head, begin - 4)[0]
    at, syntax = begin, ""
    while at < end:
        tag, _vr, length, value = _read_explicit(head, at)
        at = value + length
        if tag == _TRANSFER_SYNTAX_UID:
            syntax = head[value:at].decode("ascii", "replace").strip(" \0")
    if at != end or syntax not in _WALKED:
        raise _UnusualError
    return syntax, end


def _read_explicit(head: bytes, at: int) -> tuple[int, bytes | None, int, int]:
    """Return tag, value representation, length and offset of the value (PS3.5 7.1.2)."""
    group, element, vr, length = _EXPLICIT.unpack_from(head, at)
    if vr in _SHORT_VRS:
        return group << 16 | element, vr, length, at + 8
    if vr not in _LONG_VRS:
        raise _UnusualError
    return group << 16 | element, vr, _LENGTH.unpack_from(head, at + 8)[0], at + 12


def _read_implicit(head: bytes, at: int) -> tuple[int, bytes | None, int, int]:
    """Return tag, None, length and offset of the value (PS3.5 7.1.3)."""
    group, element, length = _IMPLICIT.unpack_from(head, at)
    return group << 16 | element, None, length, at + 8


def _after_sequence(head: bytes, at: int, *, is_implicit: bool, depth: int) -> int:
    """Return where a sequence of undefined length ends (PS3.5 7.5.1)."""
    if depth > _DEEPEST_SEQUENCE:
        raise _UnusualError
    while True:
        tag, _, length, value = _read_implicit(head, at)
        if tag == _SEQUENCE_END:
            return value
        if tag != _ITEM:
            raise _UnusualError
        if length == UNDEFINED_LENGTH:
            at = _after_item(head, value, is_implicit=is_implicit, depth=depth)
        else:
            at = value + length


def _after_item(head: bytes, at: int, *, is_implicit: bool, depth: int) -> int:
    """Return where an item of undefined length ends."""
    read = _read_implicit if is_implicit else _read_explicit
    while True:
        tag, _, _, after = _read_implicit(head, at)
        if tag == _ITEM_END:
            return after
        _, vr, length, value = read(head, at)
        if length == UNDEFINED_LENGTH:
            if vr == b"UN":
                raise _UnusualError
            at = _after_sequence(head, value, is_implicit=is_implicit, depth=depth + 1)
        else:
            at = value + length


@cache
def _as_tag(tag: int) -> BaseTag:
    return Tag(tag)


@cache
def _sequence_tags() -> frozenset[int]:
    """Return the wanted tags that are sequences: implicit VR does not say so."""
    return frozenset(
        tag
        for keyword in _HEADER_KEYWORDS
        if keyword.endswith("Sequence")
        for tag in [tag_for_keyword(keyword)]
        if tag is not None
    )


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
    if len(head) < 12 or head[:4] != tag or not (is_implicit or head[4:6] in _PIXEL_VRS):
        return None
    at = 4 if is_implicit else 8
    (length,) = struct.unpack(f"{order}L", head[at : at + 4])
    offset = file.tell() - (4 if is_implicit else 0)
    return PixelElement(offset=offset, length=length, room=file.seek(0, 2) - offset)
