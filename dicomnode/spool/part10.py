"""The DICOM file format around an encoded data set (PS3.10 7).  No pixel data is decoded here."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag

from dicomnode.errors import InstanceUnreadable
from dicomnode.standard.sop_classes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_SOP_CLASS_UID: Final = 0x00080016
_SOP_INSTANCE_UID: Final = 0x00080018
_STUDY_INSTANCE_UID: Final = 0x0020000D
_SERIES_INSTANCE_UID: Final = 0x0020000E
_IDENTIFYING: Final = (_SOP_CLASS_UID, _SOP_INSTANCE_UID, _STUDY_INSTANCE_UID, _SERIES_INSTANCE_UID)
_TRANSFER_SYNTAX_UID: Final = 0x00020010

_GROUP_LENGTH: Final = struct.Struct("<HH2sHL")
"""(0002,0000) in explicit VR little endian (PS3.10 7.1)."""

_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"

# The identifying attributes lie before the pixel data, mostly within the first kilobytes; the last
# bound is there for data sets that deflate to next to nothing and inflate without end.
_INFLATE_BYTES: Final = (1 << 18, 1 << 22, 1 << 25)
_CHUNK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a data set says it is (PS3.3 C.12.1, C.7.2.1, C.7.3.1), as it says it, unchecked."""

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMeta:
    """What the file meta information of a stored instance says (PS3.10 7.1).

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, transfer_syntax_uid : str
    source_ae_title : str
        Who sent it; empty where the file does not say.
    data_set_offset : int
        Where the encoded data set begins, in bytes from the beginning of the file.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str
    data_set_offset: int


def encode_header(
    *,
    sop_class_uid: str,
    sop_instance_uid: str,
    transfer_syntax_uid: str,
    source_ae_title: str,
) -> bytes:
    """Return all that stands before the data set: zeros, ``DICM``, our file meta information.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid : str
        Of the data set.
    transfer_syntax_uid : str
        In which the data set is encoded.
    source_ae_title : str
        Calling AE title of the association that brought it.
    """
    # Written by hand: the library takes longer for this than the disk for the whole instance.
    elements = b"".join(
        (
            struct.pack("<HH2sHL", 2, 0x0001, b"OB", 0, 2) + b"\x00\x01",
            _element(0x0002, b"UI", sop_class_uid),
            _element(0x0003, b"UI", sop_instance_uid),
            _element(0x0010, b"UI", transfer_syntax_uid),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
            _element(0x0016, b"AE", source_ae_title),
        )
    )
    return bytes(128) + b"DICM" + _GROUP_LENGTH.pack(2, 0, b"UL", 4, len(elements)) + elements


def read_file_meta(file: BinaryIO) -> FileMeta:
    """Read the file meta information; `file` then stands at the data set.

    Raises
    ------
    InstanceUnreadable
        If this is no DICOM file, or its file meta information lacks one of the three UIDs.
    """
    try:
        read_preamble(file, force=False)
        begin = file.tell()
        group, element, vr, length, group_bytes = _GROUP_LENGTH.unpack(
            file.read(_GROUP_LENGTH.size).ljust(_GROUP_LENGTH.size, b"\x00")
        )
        file.seek(begin)
        # The group length ends the file meta information whatever follows it; a file that lacks
        # it ends it with the first element of another group.
        has_length = (group, element, vr, length) == (2, 0, b"UL", 4)
        source = BytesIO(file.read(_GROUP_LENGTH.size + group_bytes)) if has_length else file
        meta = read_dataset(
            source,
            is_implicit_VR=False,
            is_little_endian=True,
            stop_when=lambda tag, _vr, _length: tag.group != 2,
        )
        return FileMeta(
            sop_class_uid=_uid(meta, 0x00020002),
            sop_instance_uid=_uid(meta, 0x00020003),
            transfer_syntax_uid=_uid(meta, _TRANSFER_SYNTAX_UID),
            source_ae_title=str(meta.get("SourceApplicationEntityTitle", "")).strip(),
            data_set_offset=file.tell(),
        )
    except InstanceUnreadable:
        raise
    except Exception as error:  # pydicom raises nearly anything on bytes that are not DICOM
        raise InstanceUnreadable(f"no DICOM file: {type(error).__name__}") from error


def read_identity(data_set: bytes, transfer_syntax_uid: str) -> Identity:
    """Read the identifying UIDs of an encoded data set, and nothing behind them.

    Parameters
    ----------
    data_set : bytes
        As it came, without file meta information.
    transfer_syntax_uid : str
        Its encoding (PS3.5 A); all but implicit VR little endian, big endian and deflated are
        explicit VR little endian up to the pixel data.

    Raises
    ------
    InstanceUnreadable
        If it cannot be parsed that far or lacks one of them.
    """
    return read_identity_of(BytesIO(data_set), transfer_syntax_uid)


def read_identity_of(file: BinaryIO, transfer_syntax_uid: str) -> Identity:
    """Do as `read_identity` does, for an encoded data set that begins where `file` stands.

    Raises
    ------
    InstanceUnreadable
        If it cannot be parsed that far or lacks one of them.
    """
    if transfer_syntax_uid != _DEFLATED:
        return _identify(file, transfer_syntax_uid)
    begin = file.tell()
    for limit in _INFLATE_BYTES:
        file.seek(begin)
        inflated = _inflate(file, limit)
        try:
            return _identify(BytesIO(inflated), EXPLICIT_VR_LITTLE_ENDIAN)
        except InstanceUnreadable:
            if len(inflated) < limit:
                raise
    raise InstanceUnreadable(f"no identifying UIDs within {_INFLATE_BYTES[-1]} inflated bytes")


def _inflate(file: BinaryIO, limit: int) -> bytes:
    """Return what the rest of `file` inflates to, up to `limit` bytes."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = bytearray()
    try:
        while len(inflated) < limit and (chunk := file.read(_CHUNK_BYTES)):
            inflated += inflater.decompress(chunk, limit - len(inflated))
    except zlib.error as error:
        raise InstanceUnreadable("the deflated data set cannot be inflated") from error
    return bytes(inflated)


def read_stored(path: Path) -> tuple[FileMeta, Identity, bytes]:
    """Read a stored instance.

    Returns
    -------
    FileMeta
    Identity
        Of its data set.
    bytes
        The encoded data set.

    Raises
    ------
    InstanceUnreadable
        If it is no DICOM file or cannot be identified.
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        meta = read_file_meta(file)
        data_set = file.read()
    return meta, read_identity(data_set, meta.transfer_syntax_uid), data_set


@lru_cache(maxsize=256)  # all but one are the same for all instances of an association
def _element(number: int, vr: bytes, value: str) -> bytes:
    """Encode an element of group 0002 in explicit VR little endian, padded as PS3.5 6.2 has it."""
    encoded = value.encode("ascii")
    if len(encoded) % 2:
        encoded += b"\x00" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, number, vr, len(encoded)) + encoded


def _identify(stream: BinaryIO, transfer_syntax_uid: str) -> Identity:
    wanted: list[BaseTag | int] = [Tag(each) for each in _IDENTIFYING]
    try:
        found = read_dataset(
            stream,
            is_implicit_VR=transfer_syntax_uid == IMPLICIT_VR_LITTLE_ENDIAN,
            is_little_endian=transfer_syntax_uid != _BIG_ENDIAN,
            stop_when=lambda tag, _vr, _length: tag > _SERIES_INSTANCE_UID,
            specific_tags=wanted,
        )
        return Identity(
            sop_class_uid=_uid(found, _SOP_CLASS_UID),
            sop_instance_uid=_uid(found, _SOP_INSTANCE_UID),
            study_instance_uid=_uid(found, _STUDY_INSTANCE_UID),
            series_instance_uid=_uid(found, _SERIES_INSTANCE_UID),
        )
    except InstanceUnreadable:
        raise
    except (
        Exception
    ) as error:  # as above: recursion, struct, key, length and type errors among them
        message = f"the data set cannot be parsed: {type(error).__name__}"
        raise InstanceUnreadable(message) from error


def _uid(data_set: Any, tag: int) -> str:
    """Return a UID from the encoded value: decoding it by pydicom may raise, warn or guess."""
    element = data_set.get_item(tag) if tag in data_set else None
    value = None if element is None else element.value
    if isinstance(value, bytes):
        # A UID is padded with one NUL; spaces come from senders that know no better (PS3.5 9.1).
        value = value.rstrip(b"\x00 ").decode("ascii", errors="replace")
    if not isinstance(value, str) or not value:
        raise InstanceUnreadable(f"wanted a UID at {Tag(tag)}, found none")
    return str(value)
