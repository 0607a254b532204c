"""The command sets of C-STORE (PS3.7 9.3.1, E.1) as bytes.  All others are the library's."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_ELEMENT: Final = struct.Struct("<HHL")
_US: Final = struct.Struct("<H")
_NO_DATA_SET: Final = 0x0101
_C_STORE_RQ: Final = 0x0001
_C_STORE_RSP: Final = 0x8001

_AFFECTED_SOP_CLASS_UID: Final = 0x0002
_COMMAND_FIELD: Final = 0x0100
_MESSAGE_ID: Final = 0x0110
_MESSAGE_ID_BEING_RESPONDED_TO: Final = 0x0120
_COMMAND_DATA_SET_TYPE: Final = 0x0800
_STATUS: Final = 0x0900
_AFFECTED_SOP_INSTANCE_UID: Final = 0x1000


class CommandInvalid(ValueError):
    """The bytes are no command set, or lack what every command has."""


@dataclass(frozen=True, slots=True)
class Command:
    """What must be known of any message to follow it.

    Attributes
    ----------
    has_data_set : bool
        Whether data set fragments follow the command.
    store : StoreRequestFields or None
        None for every other message than C-STORE-RQ.
    """

    has_data_set: bool
    store: StoreRequestFields | None


@dataclass(frozen=True, slots=True)
class StoreRequestFields:
    """What a C-STORE-RQ says of its instance, unchecked."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str


def decode_command(encoded: bytes | bytearray) -> Command:
    """Read a command set: implicit VR little endian whatever was negotiated (PS3.7 6.3.1).

    Raises
    ------
    CommandInvalid
        If it is none, or a C-STORE-RQ lacks an element that the answer needs.
    """
    elements = _elements(encoded)
    has_data_set = _number(elements, _COMMAND_DATA_SET_TYPE) != _NO_DATA_SET
    if _number(elements, _COMMAND_FIELD) != _C_STORE_RQ:
        return Command(has_data_set, None)
    return Command(
        has_data_set,
        StoreRequestFields(
            message_id=_number(elements, _MESSAGE_ID),
            sop_class_uid=_uid(elements, _AFFECTED_SOP_CLASS_UID),
            sop_instance_uid=_uid(elements, _AFFECTED_SOP_INSTANCE_UID),
        ),
    )


def encode_store_response(request: StoreRequestFields, status: int) -> bytes:
    """Return the command set of the C-STORE-RSP (PS3.7 table 9.3-2)."""
    body = b"".join(
        (
            _text(_AFFECTED_SOP_CLASS_UID, request.sop_class_uid),
            _short(_COMMAND_FIELD, _C_STORE_RSP),
            _short(_MESSAGE_ID_BEING_RESPONDED_TO, request.message_id),
            _short(_COMMAND_DATA_SET_TYPE, _NO_DATA_SET),
            _short(_STATUS, status),
            _text(_AFFECTED_SOP_INSTANCE_UID, request.sop_instance_uid),
        )
    )
    return _ELEMENT.pack(0, 0, 4) + struct.pack("<L", len(body)) + body


def _elements(encoded: bytes | bytearray) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    position, end = 0, len(encoded)
    while position < end:
        if end - position < _ELEMENT.size:
            raise CommandInvalid(f"a command set that ends within an element, at byte {position}")
        group, element, length = _ELEMENT.unpack_from(encoded, position)
        position += _ELEMENT.size
        if group != 0:
            raise CommandInvalid(f"wanted elements of group 0000, found one of {group:04X}")
        if length > end - position:
            raise CommandInvalid(f"(0000,{element:04X}) is longer than the command set")
        found[element] = bytes(encoded[position : position + length])
        position += length
    return found


def _number(elements: Mapping[int, bytes], element: int) -> int:
    value = elements.get(element)
    if value is None or len(value) != _US.size:
        found = "none" if value is None else f"{len(value)} bytes"
        raise CommandInvalid(f"wanted a 16-bit number at (0000,{element:04X}), found {found}")
    return int(_US.unpack(value)[0])


def _uid(elements: Mapping[int, bytes], element: int) -> str:
    value = elements.get(element)
    if not value:
        raise CommandInvalid(f"wanted a UID at (0000,{element:04X}), found none")
    # One character a byte, so that the answer repeats what came; checked where it is used.
    return value.rstrip(b"\x00 ").decode("latin-1")


def _text(element: int, value: str) -> bytes:
    encoded = value.encode("latin-1")
    encoded += b"\x00" * (len(encoded) % 2)
    return _ELEMENT.pack(0, element, len(encoded)) + encoded


def _short(element: int, value: int) -> bytes:
    return _ELEMENT.pack(0, element, _US.size) + _US.pack(value)
