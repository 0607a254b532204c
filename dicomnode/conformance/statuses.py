"""Which statuses are answered, and what is made of those that peers answer, as rows of tables.

Meanings and decisions are asked from the code.  What stands here is in which case a status that we
answer is chosen; a status that the code has and a table lacks is an error, no gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dicomnode.config import Config
from dicomnode.errors import ReceiveError
from dicomnode.receive.admission import NO_REASON, REJECTIONS
from dicomnode.receive.identity import NOT_AUTHORIZED
from dicomnode.send.commitment_scu import TRANSIENT_STATUSES
from dicomnode.send.stow import STATUSES_WITH_OUTCOMES
from dicomnode.send.stow import TRANSIENT_STATUSES as TRANSIENT_HTTP_STATUSES
from dicomnode.standard.status import (
    DUPLICATE_SOP_INSTANCE,
    ActionStatus,
    FailureReason,
    StoreStatus,
    describe_rejection,
    describe_store_status,
    is_success,
    is_transient,
    store_status_ranges,
)

_STORED: Final = {
    StoreStatus.SUCCESS: "the instance is on disk, synced; or the same data set is there already; "
    "or it is one that is acknowledged and not kept",
    StoreStatus.OUT_OF_RESOURCES: "disk or database fail, or free space or the pipeline's quota do "
    "not suffice",
}
"""In which cases beyond those that an error of the node names."""

_ACTIONS: Final = {
    ActionStatus.SUCCESS: "the request is recorded; the report will follow",
    ActionStatus.PROCESSING_FAILURE: "the Transaction UID was used before for other instances, or "
    "the request cannot be recorded",
    ActionStatus.NO_SUCH_SOP_INSTANCE: "the Requested SOP Instance is not the well-known one",
    ActionStatus.INVALID_ARGUMENT: "the action information cannot be read, or a UID in it is none",
    ActionStatus.NO_SUCH_ACTION: "the Action Type ID is not 1",
    ActionStatus.RESOURCE_LIMITATION: "more instances than one request may have",
}

_REASONS: Final = {
    FailureReason.PROCESSING_FAILURE: "the file is not what was recorded; or other content was "
    "sent under this UID and not kept",
    FailureReason.NO_SUCH_OBJECT_INSTANCE: "not received on this AE title",
    FailureReason.CLASS_INSTANCE_CONFLICT: "stored under another SOP class",
    FailureReason.SOP_CLASS_NOT_SUPPORTED: "acknowledged and not kept",
}


def answered_to_store(config: Config) -> Iterator[tuple[str, str, str]]:
    """Yield status, meaning and cases of the answers to a C-STORE."""
    refuses = any(each.duplicates == "refuse" for each in config.pipelines.values())
    for status in StoreStatus:
        if status == StoreStatus.DUPLICATE_SOP_INSTANCE and not refuses:
            continue
        cases = [
            _clause(str(each.__doc__))
            for each in ReceiveError.__subclasses__()
            if each.status == status
        ]
        cases += [_STORED[status]] if status in _STORED else []
        yield _hexadecimal(status), describe_store_status(status), "; ".join(cases)


def answers_to_store() -> Iterator[tuple[str, str, str]]:
    """Yield status, meaning and what follows when a peer answers our C-STORE with it."""
    for first, last, meaning in store_status_ranges():
        span = _hexadecimal(first)
        if first != last:
            span += f" to {_hexadecimal(last)}, others"
        yield span, meaning, _consequence(first)


def _consequence(status: int) -> str:
    if is_success(status):
        return "the destination has it"
    if status == DUPLICATE_SOP_INSTANCE:
        return "the destination has it: under our UIDs there is but one object"
    if is_transient(status):
        return "tried again later"
    return "refused for good: what the key `fallback` allows is sent instead, else parked"


def answered_to_action() -> Iterator[tuple[str, str, str]]:
    """Yield status, meaning and cases of the answers to an N-ACTION."""
    for status in ActionStatus:
        yield _hexadecimal(status), describe_store_status(status), _ACTIONS[status]


def answers_to_action() -> Iterator[tuple[str, str]]:
    """Yield status and what follows when a peer answers our N-ACTION with it."""
    yield "0x0000", "the report is awaited"
    again = ", ".join(map(_hexadecimal, sorted(TRANSIENT_STATUSES)))
    yield f"{again}; no answer", "asked again with the next attempt"
    yield "any other", "parked"


def failure_reasons() -> Iterator[tuple[str, str, str]]:
    """Yield value, meaning and cases of the Failure Reasons that we report."""
    for reason in FailureReason:
        yield _hexadecimal(reason), describe_store_status(reason), _REASONS[reason]


def rejections() -> Iterator[tuple[str, str, str]]:
    """Yield result, source and reason, their meaning, and cases of associations we reject."""
    cases = {
        **REJECTIONS,
        NOT_AUTHORIZED: "`receive.users` is set, and user name and password are missing or wrong",
        (NO_REASON.result, NO_REASON.source, NO_REASON.reason): NO_REASON.words,
    }
    for (result, source, reason), when in cases.items():
        kind = "permanent" if result == 1 else "transient"
        yield f"{result}, {source}, {reason}", f"{kind}: {describe_rejection(source, reason)}", when


def answers_over_http() -> Iterator[tuple[str, str]]:
    """Yield HTTP status and what follows when a STOW-RS service answers with it."""
    yield (
        ", ".join(map(str, sorted(STATUSES_WITH_OUTCOMES))),
        (
            "the Store Instances Response Module says what became of each instance; Failure "
            "Reasons and Warning Reasons are taken as the C-STORE statuses of the same numbers; "
            "one that it does not mention is tried again"
        ),
    )
    again = ", ".join(map(str, sorted(TRANSIENT_HTTP_STATUSES)))
    yield f"{again}; no answer, TLS fails", "tried again later"
    yield "401 with client credentials", "a new token is had and the request repeated once"
    yield "any other", "parked"


def _clause(docstring: str) -> str:
    sentence = docstring.splitlines()[0].rstrip(".")
    return sentence[0].lower() + sentence[1:]


def _hexadecimal(status: int) -> str:
    return f"0x{status:04X}"
