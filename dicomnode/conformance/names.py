"""The standard's names for UIDs, and the sets of transfer syntaxes that the tables refer to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pydicom.uid import UID

from dicomnode.standard.sop_classes import CT_TRANSFER_SYNTAXES, UNCOMPRESSED_TRANSFER_SYNTAXES

SETS: Final = {"U": UNCOMPRESSED_TRANSFER_SYNTAXES, "C": CT_TRANSFER_SYNTAXES}
"""By the letter that stands for it in a table."""


def name_of(uid: str) -> str:
    """Return the name that PS3.6 gives a UID; a private one has none."""
    name = UID(uid).name
    return "(private)" if name == uid else str(name)


def named(uid: str) -> str:
    """Return name and UID."""
    return f"{name_of(uid)}, {uid}"


def syntaxes(uids: Iterable[str]) -> str:
    """Say transfer syntaxes in a cell: a letter for a known set, else each by UID."""
    wanted = tuple(uids)
    for letter, members in SETS.items():
        if wanted == members:
            return f"set {letter}"
    return ", ".join(wanted)
