"""Who is this?  The identifying UIDs from the first bytes of a data set, without a DICOM library.

Only plain data sets are understood; of any other `identify_head` says nothing, and
`part10.read_identity`, which is the judge of what is readable, is to be asked.
"""

from __future__ import annotations

import struct
from typing import Final

from dicomnode.spool.part10 import Identity
from dicomnode.standard.sop_classes import IMPLICIT_VR_LITTLE_ENDIAN

_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"

# The library takes as long for the head of a CT image as the disk for the whole of it.
_EXPLICIT: Final = struct.Struct("<HH2sH")
_IMPLICIT: Final = struct.Struct("<HHL")
_LONG: Final = struct.Struct("<L")
_SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
)
"""Value representations with a length of 16 bits (PS3.5 7.1.2)."""
_LONG_VRS: Final = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_UNDEFINED: Final = 0xFFFFFFFF
_ITEM: Final = (0xFFFE, 0xE000)
_END_OF_ITEM: Final = (0xFFFE, 0xE00D)
_END_OF_SEQUENCE: Final = (0xFFFE, 0xE0DD)
_DEEPEST: Final = 16

_SPECIFIC_CHARACTER_SET: Final = (0x0008, 0x0005)
_SOP_CLASS_UID: Final = (0x0008, 0x0016)
_SOP_INSTANCE_UID: Final = (0x0008, 0x0018)
_STUDY_INSTANCE_UID: Final = (0x0020, 0x000D)
_SERIES_INSTANCE_UID: Final = (0x0020, 0x000E)
_WANTED: Final = (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID)


class _NotPlain(Exception):
    """What follows is for the library to judge."""


def identify_head(head: bytes | bytearray, transfer_syntax_uid: str) -> Identity | None:
    """Read the identifying UIDs from the beginning of an encoded data set.

    Parameters
    ----------
    head : bytes
        The first bytes of the data set, as it came.
    transfer_syntax_uid : str
        Its encoding (PS3.5 A).

    Returns
    -------
    Identity or None
        None if the UIDs are not all there, or if anything before them is unusual.  Never another
        answer than that of `part10.read_identity` on the whole data set.
    """
    if transfer_syntax_uid in {_BIG_ENDIAN, _DEFLATED}:
        return None
    try:
        found = _find(head, implicit=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN)
    except (_NotPlain, struct.error):
        return None
    uids = [_uid(found.get(each)) for each in _WANTED]
    if not all(uids):
        return None
    return Identity(
        sop_class_uid=uids[0],
        sop_instance_uid=uids[1],
        study_instance_uid=uids[2],
        series_instance_uid=uids[3],
    )


def _find(head: bytes | bytearray, *, implicit: bool) -> dict[tuple[int, int], bytes]:
    """Return the encoded values of the wanted elements; the element after them was seen."""
    found: dict[tuple[int, int], bytes] = {}
    position = 0
    former = (0, 0)
    if implicit and head[4:6].isalpha() and head[4:6].isupper():
        raise _NotPlain  # the library would take it for explicit
    while True:
        if implicit:
            group, element, length = _IMPLICIT.unpack_from(head, position)
            tag, begin = (group, element), position + 8
        else:
            tag, begin, length = _explicit_header(head, position)
        if tag > _SERIES_INSTANCE_UID:
            return found
        if tag <= former or tag[0] < 0x0008:
            raise _NotPlain
        former = tag
        if length == _UNDEFINED:
            position = _end_of_sequence(head, begin, implicit=implicit, depth=0)
            continue
        position = begin + length
        if tag in _WANTED:
            found[tag] = bytes(head[begin:position])
        elif tag == _SPECIFIC_CHARACTER_SET and 0 in head[begin:position]:
            raise _NotPlain  # the library looks up what it names, and fails at a NUL


def _header(
    head: bytes | bytearray, position: int, *, implicit: bool
) -> tuple[tuple[int, int], int, int]:
    """Return tag, where the value begins, and its length."""
    if implicit:
        group, element, length = _IMPLICIT.unpack_from(head, position)
        return (group, element), position + 8, length
    return _explicit_header(head, position)


def _explicit_header(head: bytes | bytearray, position: int) -> tuple[tuple[int, int], int, int]:
    group, element, vr, length = _EXPLICIT.unpack_from(head, position)
    if vr in _SHORT_VRS:
        return (group, element), position + 8, length
    if vr not in _LONG_VRS:
        raise _NotPlain
    (length,) = _LONG.unpack_from(head, position + 8)
    if length == _UNDEFINED and vr != b"SQ":
        raise _NotPlain
    return (group, element), position + 12, length


def _end_of_sequence(head: bytes | bytearray, position: int, *, implicit: bool, depth: int) -> int:
    """Return where a sequence of undefined length ends (PS3.5 7.5)."""
    if depth > _DEEPEST:
        raise _NotPlain
    while True:
        group, element, length = _IMPLICIT.unpack_from(head, position)
        position += 8
        if (group, element) == _END_OF_SEQUENCE:
            return position
        if (group, element) != _ITEM:
            raise _NotPlain
        if length != _UNDEFINED:
            position += length
            continue
        position = _end_of_item(head, position, implicit=implicit, depth=depth)


def _end_of_item(head: bytes | bytearray, position: int, *, implicit: bool, depth: int) -> int:
    while True:
        group, element, _ = _IMPLICIT.unpack_from(head, position)
        if (group, element) == _END_OF_ITEM:
            return position + 8
        _, begin, length = _header(head, position, implicit=implicit)
        if length == _UNDEFINED:
            position = _end_of_sequence(head, begin, implicit=implicit, depth=depth + 1)
        else:
            position = begin + length


def _uid(value: bytes | None) -> str:
    """Return a UID without its padding (PS3.5 9.1), as `part10.read_identity` has it."""
    return "" if value is None else value.rstrip(b"\x00 ").decode("ascii", errors="replace")
