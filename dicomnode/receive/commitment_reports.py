"""Answers to our own requests for storage commitment, over associations that peers open (PS3.4 J).

Being asked for commitment is another matter, and not here.
"""

from __future__ import annotations

from collections.abc import Callable

from pynetdicom import evt

from dicomnode.log import get_logger
from dicomnode.model.commitment import CommitmentReport

TakeReport = Callable[[CommitmentReport], None]
"""Makes a report durable; may be told the same one again."""

_SUCCESS = 0x0000
_PROCESSING_FAILURE = 0x0110
_INVALID_ARGUMENT = 0x0115

_log = get_logger(__name__)


def ignore_report(report: CommitmentReport) -> None:
    """Note a report that nobody here waits for."""
    _log.info("commitment_report_unasked", transaction=report.transaction_uid)


def take_event_report(event: evt.Event, take: TakeReport) -> tuple[int, None]:
    """Handle an N-EVENT-REPORT; return the status to answer with, and no data set (PS3.7 10.1.1).

    Success is answered only when the report is durable: the peer will not send it again.
    """
    try:
        report = CommitmentReport.from_data_set(event.event_information)
    except (AttributeError, ValueError, TypeError) as error:
        _log.warning("commitment_report_unreadable", error=type(error).__name__)
        return _INVALID_ARGUMENT, None
    try:
        take(report)
    except Exception:  # noqa: BLE001 - the peer is told a status, whatever happened
        _log.exception("commitment_report_not_recorded", transaction=report.transaction_uid)
        return _PROCESSING_FAILURE, None
    return _SUCCESS, None
