"""What is counted and traced of one C-STORE request.  What becomes of it, `store` decides."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager

from dicomnode import tracing
from dicomnode.metrics import INSTANCES, INSTANCES_REFUSED, STORE_SECONDS, reason_of


class Tally:
    """From the request to its status.

    Parameters
    ----------
    pipeline : str
    association : Span
        Of the association that it came over.
    """

    def __init__(self, pipeline: str, association: tracing.Span) -> None:
        self._begun_at = time.perf_counter()
        self._pipeline = pipeline
        self._span = tracing.begin("C-STORE", kind="server", parent=association.traceparent)

    def active(self) -> AbstractContextManager[None]:
        """Have what is recorded in the block know the trace."""
        return self._span.active()

    def refused(self, error: Exception) -> None:
        """Count a failure, by its kind."""
        reason = reason_of(error)
        INSTANCES_REFUSED.labels(self._pipeline, reason).inc()
        self._span.fail(reason)

    def answered(self, status: str) -> None:
        """Count the request: `status` in hexadecimal, or ``ignored``."""
        INSTANCES.labels(self._pipeline, status).inc()
        STORE_SECONDS.labels(self._pipeline).observe(time.perf_counter() - self._begun_at)
        self._span.note(status=status)
        self._span.end()

    def abandoned(self) -> None:
        """Hear that the association ended within the data set."""
        self._span.fail("abandoned")
        self._span.end()
