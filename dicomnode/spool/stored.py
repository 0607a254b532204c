"""Reading back what the spool has stored: is it whole, is it what its name says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dicomnode.errors import InstanceUnreadable
from dicomnode.model.instance import InstanceRef
from dicomnode.spool.digest import Digest
from dicomnode.spool.durable import make_folder_durably, sync_file, sync_folder
from dicomnode.spool.part10 import read_file_meta, read_stored
from dicomnode.standard.uids import is_valid_uid

DIGEST_IN_NAME: Final = 16
"""Hexadecimal characters of a data set's digest that its file name has."""


def is_there(path: str) -> bool:
    """Whether there is a file."""
    # Asked twice an instance: making a Path of it takes longer than asking.
    return os.path.exists(path)  # noqa: PTH110


def make_durable_again(path: Path, size_bytes: int) -> str | None:
    """Sync a whole file and return its transfer syntax; None if there is none.

    Whoever wrote it may have died between renaming and syncing it.
    """
    syntax = _stored_syntax(path, size_bytes)
    if syntax is not None:
        sync_file(path)
        make_folder_durably(path.parent)
        sync_folder(path.parent)
    return syntax


def _stored_syntax(path: Path, size_bytes: int) -> str | None:
    """Return the transfer syntax of the whole file at `path`; None if there is none."""
    try:
        with path.open("rb") as file:
            meta = read_file_meta(file)
            whole = os.fstat(file.fileno()).st_size - meta.data_set_offset == size_bytes
    except (FileNotFoundError, InstanceUnreadable):
        return None
    return meta.transfer_syntax_uid if whole else None


def read_ref(path: Path, key: str) -> InstanceRef:
    """Read a stored file anew.

    Raises
    ------
    InstanceUnreadable
        If it is no DICOM file, or not what its place and name say.
    """
    meta, identity, data_set = read_stored(path)
    digest = Digest(data_set).hexdigest()
    expected = f"{identity.sop_instance_uid}.{digest[:DIGEST_IN_NAME]}.dcm"
    if path.name != expected:
        raise InstanceUnreadable(f"wanted the name {expected} for this content, found {path.name}")
    if path.parent.name != identity.series_instance_uid:
        raise InstanceUnreadable("the instance lies in the folder of another series")
    if not is_valid_uid(identity.study_instance_uid) or not is_valid_uid(identity.sop_class_uid):
        raise InstanceUnreadable("the Study Instance UID or SOP Class UID is none (PS3.5 9.1)")
    return InstanceRef(
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        digest=digest,
        size_bytes=len(data_set),
        key=key,
    )
