"""Every metric the node exposes, declared once.  Labels come from closed sets, never a UID."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ASSOCIATIONS = Counter(
    "dicomnode_associations_total", "Associations by how they ended.", ["outcome"]
)
INSTANCES = Counter(
    "dicomnode_instances_received_total", "C-STORE requests by status.", ["pipeline", "status"]
)
INSTANCE_BYTES = Counter(
    "dicomnode_instances_received_bytes_total", "Bytes of data sets stored.", ["pipeline"]
)
COMMITMENTS = Counter(
    "dicomnode_commitments_total", "Reports of storage commitment by outcome.", ["outcome"]
)
SERIES_CLOSED = Counter(
    "dicomnode_series_closed_total", "Series revisions closed, by reason.", ["pipeline", "reason"]
)
JOBS = Counter("dicomnode_jobs_total", "Analyses by end state.", ["pipeline", "state"])
STAGE_SECONDS = Histogram(
    "dicomnode_stage_seconds",
    "Time a stage of an analysis took.",
    ["pipeline", "stage"],
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300),
)
DELIVERIES = Counter(
    "dicomnode_deliveries_total", "Delivery attempts by outcome.", ["destination", "outcome"]
)
TRITON_UP = Gauge("dicomnode_triton_up", "1 while the inference server answers, else 0.")
TRITON_RESTARTS = Counter(
    "dicomnode_triton_restarts_total", "How often the embedded inference server was started again."
)
