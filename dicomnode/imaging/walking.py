"""Walking a plain little-endian file, element by element, in its first kilobytes.

Many times faster than a general parser, and all that most CT needs.  Whatever is unusual is not
walked: `header` leaves it to pydicom.  Opens no files.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from dicomnode.imaging.elements import (
    PIXEL_VRS,
    UNDEFINED_LENGTH,
    FileHeader,
    PixelElement,
    WalkedHeader,
)
from dicomnode.standard.sop_classes import CT_TRANSFER_SYNTAXES, IMPLICIT_VR_LITTLE_ENDIAN

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


class _UnusualError(Exception):
    """The walk met something that it leaves to pydicom."""


def walk(head: bytes, file_size: int, tags: frozenset[int]) -> FileHeader | None:
    """Find the wanted elements in the beginning of a file.

    Parameters
    ----------
    head : bytes
        The first bytes of the file.
    file_size : int
        Of the whole file, in bytes.
    tags : frozenset of int

    Returns
    -------
    FileHeader or None
        None where anything is unusual, or the header goes on beyond `head`.
    """
    try:
        syntax, at = _walk_meta(head)
        is_implicit = syntax == IMPLICIT_VR_LITTLE_ENDIAN
        elements, at = _walk_elements(head, at, file_size, tags, is_implicit=is_implicit)
        pixels = None
        if at < file_size:
            tag, vr, length, value = (_read_implicit if is_implicit else _read_explicit)(head, at)
            if tag == _PIXEL_DATA_TAG and (vr is None or vr in PIXEL_VRS):
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
    sequences = _sequences_among(tags)
    last = 0
    while at < file_size:
        tag, vr, length, value = read(head, at)
        if tag >= _PIXEL_DATA_TAG:
            return elements, at
        is_wanted = tag in tags
        is_sequence = vr == b"SQ" or tag in sequences
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
def _sequences_among(tags: frozenset[int]) -> frozenset[int]:
    """Return those that are sequences: implicit VR does not say so."""
    return frozenset(each for each in tags if dictionary_VR(each) == "SQ")
