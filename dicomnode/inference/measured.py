"""What is counted and traced of a request to the inference server.  Nothing is asked here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dicomnode import metrics, tracing
from dicomnode.errors import InferenceCancelled, InferenceError


@contextmanager
def measured(model: str) -> Iterator[None]:
    """Count, time and trace the block, which asks a model once.

    Parameters
    ----------
    model : str
        As Triton knows it.
    """
    with (
        tracing.span("triton", kind="client", model=model),
        metrics.TRITON_REQUEST_SECONDS.labels(model).time(),
    ):
        try:
            yield
        except InferenceCancelled:
            raise  # nobody wants the answer: that is no failure
        except InferenceError as error:
            metrics.TRITON_FAILURES.labels(model, metrics.reason_of(error)).inc()
            raise


def trace_headers() -> dict[str, str] | None:
    """Return what lets a server that traces, too, go on with our trace."""
    traceparent = tracing.context()
    return None if traceparent is None else {"traceparent": traceparent}
