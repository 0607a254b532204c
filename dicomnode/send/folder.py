"""Delivery to a folder.  The network is not here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from dicomnode.errors import DestinationUnavailable, InstanceUnreadable, SendError
from dicomnode.send.outcome import StoreOutcome
from dicomnode.spool.durable import read_chunks, write_durably
from dicomnode.spool.part10 import read_file_meta

_SUBFOLDER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_PROBE: Final = ".dicomnode-check"


def copy_to_folder(
    paths: Sequence[Path], *, folder: Path, subfolder: str
) -> tuple[StoreOutcome, ...]:
    """Copy result files into ``folder/subfolder`` under their own names; each is whole or absent.

    Parameters
    ----------
    paths : sequence of Path
        Files with different names; those that end in ``.dcm`` are DICOM.
    folder : Path
        The destination, made where it is absent.
    subfolder : str
        A plain name, such as a Series Instance UID.

    Returns
    -------
    tuple of StoreOutcome
        One for each of `paths`, in their order.  A folder that refuses to be written is transient:
        it may be full or not mounted.

    Raises
    ------
    SendError
        If `subfolder` is no plain name, or one of the files cannot be read as DICOM.
    """
    if not _SUBFOLDER.fullmatch(subfolder):
        raise SendError(f"wanted a plain name for a subfolder, found {subfolder!r}")
    return tuple(_copy(path, folder / subfolder / path.name) for path in paths)


def check_folder(folder: Path) -> str:
    """Write a file into a folder and remove it again.

    Returns
    -------
    str
        That it can be written, in words.

    Raises
    ------
    DestinationUnavailable
        If it cannot.
    """
    probe = folder / _PROBE
    try:
        write_durably(probe, b"dicomnode looks whether this folder can be written\n")
        probe.unlink(missing_ok=True)  # another may look at the same moment
    except OSError as error:
        raise DestinationUnavailable(f"the folder cannot be written: {error.strerror}") from error
    return "can be written"


def _copy(path: Path, target: Path) -> StoreOutcome:
    uid = ""
    try:
        if path.suffix == ".dcm":
            with path.open("rb") as file:
                uid = read_file_meta(file).sop_instance_uid
    except (OSError, InstanceUnreadable) as error:
        raise SendError(f"{path.name} cannot be sent: {error}") from error
    try:
        write_durably(target, read_chunks(path))
    except OSError as error:
        return StoreOutcome(
            sop_instance_uid=uid,
            path=path,
            status=None,
            words=f"the folder cannot be written: {error.strerror}",
            accepted=False,
            transient=True,
        )
    return StoreOutcome(
        sop_instance_uid=uid,
        path=path,
        status=None,
        words="written",
        accepted=True,
        transient=False,
    )
