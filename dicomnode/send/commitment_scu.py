"""The Storage Commitment SCU: asking a peer to commit itself (PS3.4 J).  Repeats are not here."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.presentation import build_context

from dicomnode.config import TlsClientConfig
from dicomnode.errors import AssociationUnavailable, DestinationRefused, DestinationUnavailable
from dicomnode.log import get_logger
from dicomnode.model.commitment import CommitmentReport
from dicomnode.send.store_scu import asking, associated
from dicomnode.standard.ae import AEAddress
from dicomnode.standard.sop_classes import (
    STORAGE_COMMITMENT_PUSH,
    STORAGE_COMMITMENT_PUSH_INSTANCE,
    UNCOMPRESSED_TRANSFER_SYNTAXES,
)
from dicomnode.standard.status import describe_store_status

_REQUEST: Final = 1
"""Action Type ID of "Request Storage Commitment" (PS3.4 J.3.2)."""
TRANSIENT_STATUSES: Final = frozenset((0x0110, 0x0213))
"""Answers to the request after which another one may succeed."""

_log = get_logger(__name__)


def request_commitment(
    transaction_uid: str,
    references: Sequence[tuple[str, str]],
    *,
    to: AEAddress,
    calling_ae_title: str,
    timeout_seconds: float,
    linger_seconds: float,
    on_report: Callable[[CommitmentReport], None],
    tls: TlsClientConfig | None = None,
) -> bool:
    """Ask a peer, by N-ACTION, to commit itself to instances that it took.

    Parameters
    ----------
    transaction_uid : str
        Names the request; the answer bears it, whenever and over whichever association it comes.
    references : sequence of (SOP Class UID, SOP Instance UID)
    to : AEAddress
    calling_ae_title : str
        Ours; where the peer sends its answer follows from it.
    timeout_seconds : float
        For connecting and for the answer to the request.
    linger_seconds : float
        How long the association is kept for an N-EVENT-REPORT.
    on_report : callable
        Told the report if it comes over this association.
    tls : TlsClientConfig, optional
        Without it the association is in clear.

    Returns
    -------
    bool
        Whether the report came already.

    Raises
    ------
    AssociationUnavailable, AssociationRejected, ContextNotAccepted
        As in `dicomnode.send.store_scu.send_instances`.
    DestinationUnavailable, DestinationRefused
        If the peer answers the request with a failure.
    """
    reported = threading.Event()

    def take(event: evt.Event) -> tuple[int, None]:
        status = take_event_report(event, on_report)
        if status == 0x0000:
            reported.set()
        return status, None

    context = build_context(STORAGE_COMMITMENT_PUSH, list(UNCOMPRESSED_TRANSFER_SYNTAXES))
    handlers: list[Any] = [(evt.EVT_N_EVENT_REPORT, take)]
    with associated(
        [context], to, calling_ae_title, timeout_seconds, tls, handlers=handlers
    ) as assoc:
        with asking(to):
            answer, _reply = assoc.send_n_action(
                _information(transaction_uid, references),
                _REQUEST,
                STORAGE_COMMITMENT_PUSH,
                STORAGE_COMMITMENT_PUSH_INSTANCE,
            )
        status = answer.get("Status")
        if status is None:
            raise AssociationUnavailable(f"{to} did not answer the N-ACTION in time")
        if status != 0x0000:
            words = f"{to} refused storage commitment: {describe_store_status(status)}"
            raise (DestinationUnavailable if status in TRANSIENT_STATUSES else DestinationRefused)(
                words
            )
        return reported.wait(linger_seconds)


def take_event_report(event: evt.Event, on_report: Callable[[CommitmentReport], None]) -> int:
    """Take an N-EVENT-REPORT; return the status to answer it with (PS3.7 10.1.1)."""
    try:
        report = CommitmentReport.from_data_set(event.event_information)
    except (AttributeError, ValueError, TypeError) as error:
        _log.warning("commitment_report_unreadable", error=type(error).__name__)
        return 0x0115
    try:
        on_report(report)
    except Exception:  # noqa: BLE001 - the peer is told a status, whatever happened
        _log.exception("commitment_report_not_recorded", transaction=report.transaction_uid)
        return 0x0110
    return 0x0000


def _information(transaction_uid: str, references: Sequence[tuple[str, str]]) -> Dataset:
    information = Dataset()
    information.TransactionUID = UID(transaction_uid)
    items = []
    for sop_class_uid, sop_instance_uid in references:
        item = Dataset()
        item.ReferencedSOPClassUID = UID(sop_class_uid)
        item.ReferencedSOPInstanceUID = UID(sop_instance_uid)
        items.append(item)
    information.ReferencedSOPSequence = items
    return information
