"""Data elements as bytes in Explicit VR Little Endian (PS3.5 7.1.2), for long sequences alone.

A SEG repeats some twenty elements for each of its frames.  As pydicom data sets they cost most of
the time that a SEG takes; as bytes next to nothing.  Everything else is left to pydicom.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

_PADDING: Final = {"UI": b"\x00", "CS": b" ", "DS": b" ", "IS": b" ", "LO": b" ", "SH": b" "}
_NUMBERS: Final = {"US": "H", "UL": "I"}
_ITEM: Final = struct.pack("<HH", 0xFFFE, 0xE000)


def text(keyword: str, vr: str, *values: str) -> bytes:
    """Encode an element whose values are ASCII texts.

    Raises
    ------
    ValueError
        If it does not fit into an element of a short VR, 65,534 bytes, or is not ASCII.
    """
    value = "\\".join(values).encode("ascii")
    value += _PADDING[vr] * (len(value) % 2)
    if len(value) > 0xFFFE:
        raise ValueError(f"wanted at most 65534 bytes in {keyword}, found {len(value)}")
    return _tag(keyword) + vr.encode("ascii") + struct.pack("<H", len(value)) + value


def numbers(keyword: str, vr: str, *values: int) -> bytes:
    """Encode an element of unsigned integers: VR US or UL."""
    value = struct.pack(f"<{len(values)}{_NUMBERS[vr]}", *values)
    return _tag(keyword) + vr.encode("ascii") + struct.pack("<H", len(value)) + value


def item(*encoded: bytes) -> bytes:
    """Wrap elements, in the order of their tags, into an item of a sequence (PS3.5 7.5)."""
    content = b"".join(encoded)
    return _ITEM + struct.pack("<I", len(content)) + content


def sequence(keyword: str, *items: bytes) -> bytes:
    """Encode a sequence with a defined length."""
    content = b"".join(items)
    return _tag(keyword) + b"SQ\x00\x00" + struct.pack("<I", len(content)) + content


def raw_sequence(keyword: str, items: Iterable[bytes]) -> RawDataElement:
    """Make a sequence that pydicom writes as it is, and decodes only where somebody looks into it.

    The data set that takes it must be one of Explicit VR Little Endian.
    """
    content = b"".join(items)
    return RawDataElement(
        tag=Tag(keyword),
        VR="SQ",
        length=len(content),
        value=content,
        value_tell=0,
        is_implicit_VR=False,
        is_little_endian=True,
        is_raw=True,
    )


def _tag(keyword: str) -> bytes:
    found = _TAGS.get(keyword)
    if found is None:
        number = tag_for_keyword(keyword)
        if number is None:
            raise ValueError(f"{keyword} is no keyword of PS3.6")
        found = _TAGS[keyword] = struct.pack("<HH", number >> 16, number & 0xFFFF)
    return found


_TAGS: dict[str, bytes] = {}
