"""Series that stand at zero from the start: a first event is an increase only after a zero."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from dicomnode.metrics import reception, work

OUTCOMES: Final = ("released", "aborted", "rejected")
REJECTIONS: Final = (
    "called_ae_title",
    "calling_ae_title",
    "user_identity",
    "temporary_congestion",
    "local_limit",
    "own_failure",
    "too_many_connections",
    "tls_handshake",
)
"""Why associations and connections are not admitted."""

STATUSES: Final = ("0000", "0111", "A700", "A900", "C000", "ignored")
REFUSALS: Final = (
    "spool_full",
    "sop_class_mismatch",
    "instance_unreadable",
    "instance_too_large",
    "duplicate_instance",
    "state_error",
    "internal_error",
)
JOB_STATES: Final = (
    "done",
    "refused",
    "not_selected",
    "superseded",
    "failed",
    "cancelled",
    "waiting",
)
DELIVERY_OUTCOMES: Final = ("delivered", "commit", "again", "parked")
TRITON_REASONS: Final = ("inference_unavailable", "inference_timeout", "inference_rejected")


def begin_at_zero(
    *, pipelines: Iterable[str], destinations: Iterable[str], models: Iterable[str]
) -> None:
    """Make the series of what is configured.

    Parameters
    ----------
    pipelines, destinations, models : iterable of str
        Names; of models those that Triton knows them by.
    """
    for outcome in OUTCOMES:
        reception.ASSOCIATIONS.labels(outcome)
    for reason in REJECTIONS:
        reception.REJECTIONS.labels(reason)
    for pipeline in pipelines:
        _begin_pipeline(pipeline)
    for destination in destinations:
        work.DELIVERY_SECONDS.labels(destination)
        for outcome in DELIVERY_OUTCOMES:
            work.DELIVERIES.labels(destination, outcome)
    for model in models:
        work.TRITON_REQUEST_SECONDS.labels(model)
        for reason in TRITON_REASONS:
            work.TRITON_FAILURES.labels(model, reason)


def _begin_pipeline(pipeline: str) -> None:
    reception.ASSOCIATIONS_OPEN.labels(pipeline)
    reception.INSTANCE_BYTES.labels(pipeline)
    reception.INSTANCES_QUARANTINED.labels(pipeline)
    reception.STORE_SECONDS.labels(pipeline)
    for status in STATUSES:
        reception.INSTANCES.labels(pipeline, status)
    for reason in REFUSALS:
        reception.INSTANCES_REFUSED.labels(pipeline, reason)
    for state in JOB_STATES:
        work.JOBS.labels(pipeline, state)
