"""What is counted while working: jobs and stages, Triton, deliveries.  Nothing is counted here."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

JOBS = Counter(
    "dicomnode_jobs_total",
    "Analyses by the state they came to; waiting is counted at each attempt.",
    ["pipeline", "state"],
)
STAGE_SECONDS = Histogram(
    "dicomnode_stage_seconds",
    "Time a stage of an analysis took.",
    ["pipeline", "stage"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)
RESULT_SECONDS = Histogram(
    "dicomnode_result_seconds",
    "Time from the last instance of a series to its results at the destination.",
    ["pipeline", "destination"],
    buckets=(5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1800, 3600, 14400),
)
TRITON_UP = Gauge(
    "dicomnode_triton_up",
    "1 while the inference server answers and has the models that were asked for, else 0.",
    multiprocess_mode="max",
)
TRITON_RESTARTS = Counter(
    "dicomnode_triton_restarts_total", "Starts of the embedded Triton after it had ended."
)
TRITON_REQUEST_SECONDS = Histogram(
    "dicomnode_triton_request_seconds",
    "Time an inference request took, by Triton model; those that failed too.",
    ["model"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
TRITON_FAILURES = Counter(
    "dicomnode_triton_failures_total",
    "Inference requests that failed, by Triton model and reason.",
    ["model", "reason"],
)
DELIVERIES = Counter(
    "dicomnode_deliveries_total",
    "Delivery attempts by outcome: delivered, commit, again or parked.",
    ["destination", "outcome"],
)
DELIVERY_SECONDS = Histogram(
    "dicomnode_delivery_seconds",
    "Time a delivery attempt took.",
    ["destination"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
