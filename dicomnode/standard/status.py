"""DIMSE statuses and association rejections, with the section of the standard that gives them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

DUPLICATE_SOP_INSTANCE: Final = 0x0111
"""A failure in name (PS3.7 C.5.9); its sender has what it was sent."""


class StoreStatus(IntEnum):
    """C-STORE statuses this node answers with (PS3.4 B.2.3, PS3.7 C)."""

    SUCCESS = 0x0000
    DUPLICATE_SOP_INSTANCE = 0x0111
    OUT_OF_RESOURCES = 0xA700
    DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class FailureReason(IntEnum):
    """Why an instance is not committed, (0008,1197) (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_OBJECT_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122


class ActionStatus(IntEnum):
    """N-ACTION statuses this node answers with (PS3.7 10.1.4.1.10)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_SOP_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    NO_SUCH_ACTION = 0x0123
    RESOURCE_LIMITATION = 0x0213


def is_success(status: int) -> bool:
    """Whether the peer has the instance: success, or a warning (PS3.7 C.1, table C-1)."""
    return status in _SUCCESS_OR_WARNING or 0xB000 <= status <= 0xBFFF


def is_transient(status: int) -> bool:
    """Whether a later attempt can succeed: the peer lacks resources (PS3.4 B.2.3, PS3.7 C.5)."""
    return status == 0x0213 or 0xA700 <= status <= 0xA7FF


def describe_rejection(source: int, reason: int) -> str:
    """Say the reason of an A-ASSOCIATE-RJ in the words of PS3.8 9.3.4."""
    return _REJECTIONS.get((source, reason), "unknown reason")


def store_status_ranges() -> tuple[tuple[int, int, str], ...]:
    """Return first, last and meaning of every C-STORE status that the standard names.

    The single ones come first; a range holds what no single one names.
    """
    return (*((code, code, words) for code, words in _GENERAL.items()), *_STORE_RANGES)


def describe_store_status(status: int) -> str:
    """Say a C-STORE status in the words of PS3.4 B.2.3 and PS3.7 C."""
    if status in _GENERAL:
        return _GENERAL[status]
    for first, last, meaning in _STORE_RANGES:
        if first <= status <= last:
            return meaning
    return f"Unknown status 0x{status:04X}"


_REJECTIONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}

_SUCCESS_OR_WARNING = frozenset((0x0000, 0x0001, 0x0107, 0x0116))

_STORE_RANGES = (
    (0xA700, 0xA7FF, "Refused: Out of Resources"),
    (0xA900, 0xA9FF, "Error: Data Set does not match SOP Class"),
    (0xB000, 0xBFFF, "Warning"),
    (0xC000, 0xCFFF, "Error: Cannot understand"),
)

_GENERAL = {
    0x0000: "Success",
    0x0001: "Warning: Requested optional Attributes are not supported",
    0x0105: "Refused: No such attribute",
    0x0106: "Refused: Invalid attribute value",
    0x0107: "Warning: Attribute list error",
    0x0110: "Failure: Processing failure",
    0x0111: "Refused: Duplicate SOP Instance",
    0x0112: "Refused: No such object instance",
    0x0113: "Refused: No such Event Type",
    0x0114: "Refused: No such argument",
    0x0115: "Refused: Invalid argument value",
    0x0116: "Warning: Attribute Value Out of Range",
    0x0117: "Refused: Invalid object instance",
    0x0118: "Refused: No such SOP class",
    0x0119: "Refused: Class-instance conflict",
    0x0120: "Refused: Missing Attribute",
    0x0121: "Refused: Missing Attribute Value",
    0x0122: "Refused: SOP class not supported",
    0x0123: "Refused: No such action",
    0x0124: "Refused: Not authorized",
    0x0210: "Refused: Duplicate invocation",
    0x0211: "Refused: Unrecognized operation",
    0x0212: "Refused: Mistyped argument",
    0x0213: "Refused: Resource limitation",
    0xB000: "Warning: Coercion of Data Elements",
    0xB006: "Warning: Elements Discarded",
    0xB007: "Warning: Data Set does not match SOP Class",
}
