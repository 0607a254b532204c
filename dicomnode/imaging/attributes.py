"""Strict reading of single attributes out of a pydicom data set.

What is absent, empty, of another multiplicity or not a number becomes `UnsupportedImage`, which
names the attribute and the SOP Instance UID and never quotes a value that is text.  What an image
must have, and what its values mean, is decided in `slices` and `multiframe`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

from pydicom.charset import convert_encodings, decode_bytes, python_encoding
from pydicom.datadict import dictionary_description, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import TEXT_VR_DELIMS, VR

from dicomnode.errors import UnsupportedImage
from dicomnode.imaging.elements import Header
from dicomnode.standard.uids import is_valid_uid

_PADDING: Final = " \0"
_BINARY: Final = {
    "US": "H",
    "SS": "h",
    "UL": "L",
    "SL": "l",
    "FL": "f",
    "FD": "d",
    # Of the two only the bits count here: `pixels` reads padding in the signedness of the pixels.
    "US or SS": "H",
}
"""Value representations that are numbers, with their form in `struct` (PS3.5 6.2)."""


_TEXT: Final = frozenset(("LO", "LT", "PN", "SH", "ST", "UC", "UT"))
"""Value representations that Specific Character Set speaks of (PS3.5 6.1.2.2)."""

_ESCAPE: Final = b"\x1b"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attributes:
    """The attributes of one image, of a data set or of several items that describe it together.

    Attributes
    ----------
    items : sequence of Header
        Searched in this order; the first item that has an attribute with a value decides.
    label : str
        How errors name the image; nothing of a patient.
    """

    items: Sequence[Header]
    label: str

    def values(self, keyword: str) -> tuple[object, ...]:
        """Return the values of an attribute; none where it is absent or empty."""
        for item in self.items:
            try:
                found = _values(item, keyword, self._encodings)
            except Exception as error:  # noqa: BLE001 - pydicom parses items when asked, and raises anything
                name = type(error).__name__
                raise self._refused(keyword, f"one that raises {name}") from None
            if found:
                return found
        return ()

    def numbers(self, keyword: str, count: int) -> tuple[float, ...]:
        """Return exactly `count` finite numbers."""
        found = self.values(keyword)
        if len(found) != count:
            raise self._refused(keyword, f"{len(found)} values", wanted=f"{count}")
        return tuple(self._number(keyword, value) for value in found)

    def number(self, keyword: str) -> float:
        """Return one finite number."""
        return self.numbers(keyword, 1)[0]

    def integer(self, keyword: str, *, lowest: int, highest: int) -> int:
        """Return one whole number from `lowest` to `highest`."""
        value = self.number(keyword)
        if value != int(value) or not lowest <= value <= highest:
            wanted = f"a whole number from {lowest} to {highest}"
            raise self._refused(keyword, f"{value:g}", wanted=wanted)
        return int(value)

    def optional_integer(self, keyword: str) -> int | None:
        """Return the first value if it is a whole number; else None: nothing depends on it."""
        found = self.values(keyword)
        try:
            return int(str(found[0])) if found else None
        except ValueError:
            return None

    def texts(self, keyword: str) -> tuple[str, ...]:
        """Return the values as text without padding."""
        return tuple(str(value).strip(_PADDING) for value in self.values(keyword))

    def text(self, keyword: str, default: str = "") -> str:
        """Return the first value as text without padding."""
        return next(iter(self.texts(keyword)), default)

    def uid(self, keyword: str) -> str:
        """Return a UID that has the form of PS3.5 9.1."""
        value = self.text(keyword)
        if not is_valid_uid(value):
            raise self._refused(keyword, "none" if not value else "something else", wanted="a UID")
        return value

    def optional_uid(self, keyword: str) -> str | None:
        """Return a UID, or None where the attribute is absent or empty."""
        return self.uid(keyword) if self.text(keyword) else None

    def _encodings(self) -> list[str]:
        """Return how text is encoded (PS3.3 C.12.1.1.2), in Python's words; ASCII if unknown."""
        for item in self.items:
            terms = _values(item, "SpecificCharacterSet", list)
            if terms:
                names = [str(each).strip(_PADDING) for each in terms]
                # pydicom would quote an unknown term in a warning.
                known = [each for each in names if each in python_encoding]
                return convert_encodings(known) if known == names else []
        return []

    def _number(self, keyword: str, value: object) -> float:
        try:
            number = float(value)  # type: ignore[arg-type]  # any object: the except is the check
        except (TypeError, ValueError, OverflowError):
            raise self._refused(keyword, "something else", wanted="a number") from None
        if not math.isfinite(number):
            raise self._refused(keyword, "an infinite or undefined one", wanted="a finite number")
        return number

    def _refused(self, keyword: str, found: str, *, wanted: str = "a value") -> UnsupportedImage:
        name = dictionary_description(keyword)
        return UnsupportedImage(f"{self.label}: wanted {wanted} in {name}, found {found}")


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def _values(item: Header, keyword: str, encodings: Callable[[], list[str]]) -> tuple[object, ...]:
    """Return numbers of binary elements, text of others, and the items of a sequence.

    pydicom's own conversion is left out where it can be: it takes most of the time of reading a
    header, and warns of values by quoting them.
    """
    element = item.get_item(_tag(keyword))
    if element is None:
        return ()
    if not isinstance(element, RawDataElement):
        value = element.value
        many = isinstance(value, (MultiValue, Sequence)) and not isinstance(value, (str, bytes))
        found = tuple(value) if many else (value,)
        return tuple(each for each in found if each is not None and each != "")
    vr = element.VR
    if vr is None or vr == VR.UN:
        vr = dictionary_VR(element.tag)
    if vr == VR.SQ:
        return tuple(item[element.tag].value)
    raw = element.value or b""
    if vr in _BINARY:
        code = _BINARY[vr]
        count = len(raw) // struct.calcsize(code)
        order = "<" if element.is_little_endian else ">"
        return struct.unpack_from(f"{order}{count}{code}", raw)
    parts = _text(raw, vr, encodings).split("\\")
    return () if not any(part.strip(_PADDING) for part in parts) else tuple(parts)


def _text(raw: bytes, vr: str, encodings: Callable[[], list[str]]) -> str:
    """Decode text; what is not ASCII by the character set of the image, where the VR allows it.

    Escape sequences (ISO 2022) are ASCII themselves, so they count as something else.
    """
    if vr in _TEXT and not (raw.isascii() and _ESCAPE not in raw) and (names := encodings()):
        return decode_bytes(raw, names, TEXT_VR_DELIMS)
    return raw.decode("ascii", "replace")
