"""Every metric the node exposes.  Labels come from closed sets, never a UID or a patient's.

What is counted where it happens is declared in `reception` and `work`; what is asked when somebody
scrapes, in `standing`; `page` makes the text of it.
"""

from dicomnode.metrics.reasons import reason_of
from dicomnode.metrics.reception import (
    ASSOCIATIONS,
    ASSOCIATIONS_OPEN,
    COMMITMENTS,
    INSTANCE_BYTES,
    INSTANCES,
    INSTANCES_QUARANTINED,
    INSTANCES_REFUSED,
    REJECTIONS,
    SERIES_CLOSED,
    STORE_SECONDS,
)
from dicomnode.metrics.work import (
    DELIVERIES,
    DELIVERY_SECONDS,
    JOBS,
    RESULT_SECONDS,
    STAGE_SECONDS,
    TRITON_FAILURES,
    TRITON_REQUEST_SECONDS,
    TRITON_RESTARTS,
    TRITON_UP,
)

__all__ = (
    "ASSOCIATIONS",
    "ASSOCIATIONS_OPEN",
    "COMMITMENTS",
    "DELIVERIES",
    "DELIVERY_SECONDS",
    "INSTANCES",
    "INSTANCES_QUARANTINED",
    "INSTANCES_REFUSED",
    "INSTANCE_BYTES",
    "JOBS",
    "REJECTIONS",
    "RESULT_SECONDS",
    "SERIES_CLOSED",
    "STAGE_SECONDS",
    "STORE_SECONDS",
    "TRITON_FAILURES",
    "TRITON_REQUEST_SECONDS",
    "TRITON_RESTARTS",
    "TRITON_UP",
    "reason_of",
)
