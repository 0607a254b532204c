"""What a header comes down to: some of its elements, and where Pixel Data lies in the file.

Reads nothing: `walking` and `header` fill these in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
"""The length of encapsulated Pixel Data (PS3.5 A.4)."""

PIXEL_VRS: Final = (b"OB", b"OW", b"UN")
"""Value representations that Pixel Data is seen with."""


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
