"""What is counted while receiving: associations, instances, series.  Nothing is counted here."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ASSOCIATIONS_OPEN = Gauge(
    "dicomnode_associations_open",
    "Associations that are admitted and have not ended.",
    ["pipeline"],
    multiprocess_mode="livesum",
)
ASSOCIATIONS = Counter(
    "dicomnode_associations_total",
    "Associations by how they ended: released, aborted or rejected.",
    ["outcome"],
)
REJECTIONS = Counter(
    "dicomnode_association_rejections_total",
    "Associations and connections that were not admitted, by reason.",
    ["reason"],
)
INSTANCES = Counter(
    "dicomnode_instances_received_total",
    "C-STORE requests by the status they were answered with; ignored: Success, and not kept.",
    ["pipeline", "status"],
)
INSTANCE_BYTES = Counter(
    "dicomnode_instances_received_bytes_total", "Bytes of data sets stored.", ["pipeline"]
)
INSTANCES_REFUSED = Counter(
    "dicomnode_instances_refused_total",
    "C-STORE requests that were answered with a failure, by reason.",
    ["pipeline", "reason"],
)
INSTANCES_QUARANTINED = Counter(
    "dicomnode_instances_quarantined_total",
    "Data sets put into the quarantine: refused ones, and slices found to be useless.",
    ["pipeline"],
)
STORE_SECONDS = Histogram(
    "dicomnode_instance_store_seconds",
    "Time from a C-STORE request to its status: transfer, disk and row.",
    ["pipeline"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
COMMITMENTS = Counter(
    "dicomnode_commitments_total",
    "Reports of storage commitment to senders by outcome.",
    ["outcome"],
)
SERIES_CLOSED = Counter(
    "dicomnode_series_closed_total",
    "Series revisions closed, by what closed them.",
    ["pipeline", "reason"],
)
