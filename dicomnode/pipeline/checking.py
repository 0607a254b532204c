"""Whether a destination is there: asked now, by whoever wants to know, and put on record."""

from __future__ import annotations

import time

from dicomnode.config import Destination, DicomwebDestination, DimseDestination
from dicomnode.database import Database
from dicomnode.database.check_rows import CheckRow, record_check
from dicomnode.errors import NodeError
from dicomnode.send.folder import check_folder
from dicomnode.send.store_scu import echo
from dicomnode.send.stow import StowClient
from dicomnode.standard.ae import AEAddress

_LONGEST_SECONDS = 10.0
"""Somebody waits for the answer."""


def check_destination(
    database: Database, name: str, destination: Destination, *, calling_ae_title: str
) -> CheckRow:
    """Ask a destination whether it is there: C-ECHO, a request over HTTP, or a file in the folder.

    Parameters
    ----------
    database : Database
    name : str
        Of the destination.
    destination : Destination
    calling_ae_title : str
        Ours, where the destination has none of its own for us.

    Returns
    -------
    CheckRow
        What it said; not being there is an answer, no exception.
    """
    begin = time.monotonic()
    try:
        words, is_ok = _ask(destination, calling_ae_title), True
    except NodeError as error:
        words, is_ok = str(error), False
    with database.begin() as transaction:
        return record_check(
            transaction, name, is_ok=is_ok, words=words, seconds=time.monotonic() - begin
        )


def _ask(destination: Destination, calling_ae_title: str) -> str:
    if isinstance(destination, DimseDestination):
        to = AEAddress(destination.ae_title, destination.host, destination.port)
        seconds = echo(
            to,
            calling_ae_title=destination.calling_ae_title or calling_ae_title,
            timeout_seconds=min(destination.timeout_seconds, _LONGEST_SECONDS),
            tls=destination.tls,
        )
        return f"answered the C-ECHO after {1000 * seconds:.0f} ms"
    if isinstance(destination, DicomwebDestination):
        limit = min(destination.timeout_seconds, _LONGEST_SECONDS)
        return StowClient(destination).check(timeout_seconds=limit)
    return check_folder(destination.path)
