"""Unique identifiers: ours, checks of others', and those derived from what they stand for."""

from __future__ import annotations

import re
import uuid
from functools import lru_cache

from dicomnode import __version__

# PS3.5 B.2: a UUID as a decimal integer below 2.25 needs no registered root.
IMPLEMENTATION_CLASS_UID = "2.25.131620498412683246702458937517207841613"
"""Names this implementation in file meta information and in negotiation (PS3.7 D.3.3.2)."""

IMPLEMENTATION_VERSION_NAME = f"DICOMNODE_{__version__}"[:16]
"""At most 16 characters (PS3.7 D.3.3.2.4)."""

_NAMESPACE = uuid.UUID("6304dcb9-3df6-4e5e-9f4b-5a4cf7a1d0cb")
_UID = re.compile(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+")


@lru_cache(maxsize=1024)  # the same few are asked for with each instance of a series
def is_valid_uid(uid: str) -> bool:
    """Whether `uid` has the form that PS3.5 9.1 gives: dotted numbers, at most 64 characters."""
    return len(uid) <= 64 and _UID.fullmatch(uid) is not None


def derive_uid(*parts: str) -> str:
    """Make the UID that stands for `parts`: the same parts give the same UID, always.

    Repeating an analysis therefore makes the same objects, not a second set of findings.

    Returns
    -------
    str
        A UID below 2.25 from a name-based UUID (RFC 9562 5.5; PS3.5 B.2).
    """
    # The length before each part keeps ("ab", "c") apart from ("a", "bc").
    name = "".join(f"{len(part)}:{part}" for part in parts)
    return f"2.25.{uuid.uuid5(_NAMESPACE, name).int}"
