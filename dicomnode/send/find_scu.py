"""The Query SCU: how many instances an archive has of a series.  Nothing is retrieved."""

from __future__ import annotations

from typing import Final

from pydicom.dataset import Dataset
from pynetdicom.presentation import build_context

from dicomnode.config import TlsClientConfig
from dicomnode.errors import AssociationUnavailable, SendError
from dicomnode.send.store_scu import asking, associated
from dicomnode.standard.ae import AEAddress
from dicomnode.standard.sop_classes import (
    STUDY_ROOT_FIND,
    UNCOMPRESSED_TRANSFER_SYNTAXES,
)

_PENDING: Final = (0xFF00, 0xFF01)
"""Statuses of an answer that carries a match (PS3.4 C.4.1.1.4)."""


def count_series_instances(
    to: AEAddress,
    *,
    calling_ae_title: str,
    study_instance_uid: str,
    series_instance_uid: str,
    timeout_seconds: float,
    tls: TlsClientConfig | None = None,
) -> int | None:
    """Ask for Number of Series Related Instances, Study Root (PS3.4 C.6.2, C.3.4).

    Parameters
    ----------
    to : AEAddress
    calling_ae_title : str
    study_instance_uid, series_instance_uid : str
        Unique keys of the levels above, and of the series.
    timeout_seconds : float
        For connecting and for each answer.
    tls : TlsClientConfig, optional
        Without it the connection is in the clear.

    Returns
    -------
    int or None
        None where the archive does not know the series, or does not say.

    Raises
    ------
    AssociationUnavailable, AssociationRejected, ContextNotAccepted
        If there is no association, or it breaks off.
    SendError
        If the archive refuses the query.
    """
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = series_instance_uid
    query.NumberOfSeriesRelatedInstances = None
    context = build_context(STUDY_ROOT_FIND, list(UNCOMPRESSED_TRANSFER_SYNTAXES))
    found: int | None = None
    with associated([context], to, calling_ae_title, timeout_seconds, tls) as assoc, asking(to):
        for status, identifier in assoc.send_c_find(query, STUDY_ROOT_FIND):
            code = status.get("Status")
            if code is None:
                raise AssociationUnavailable(f"{to} did not answer the C-FIND in time")
            if code in _PENDING and identifier is not None:
                found = _count(identifier, series_instance_uid, found)
            elif code not in _PENDING and code != 0:
                raise SendError(f"{to} answered the C-FIND with status 0x{code:04X}")
    return found


def _count(identifier: Dataset, series_instance_uid: str, former: int | None) -> int | None:
    """Read a match; a peer that ignores keys also sends other series."""
    if str(identifier.get("SeriesInstanceUID", "")) != series_instance_uid:
        return former
    try:
        count = int(str(identifier.get("NumberOfSeriesRelatedInstances", "")))
    except ValueError:
        return former
    return count if count > 0 else former
