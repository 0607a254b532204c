"""Work as the job engine has it: queues and finished steps.  What is done in them is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A queue of workflows.

    Attributes
    ----------
    name : str
    concurrency : int
        Workflows at the same time: of one process, or of one partition in all processes.
    is_partitioned : bool
        Whether each enqueue names a partition.
    """

    name: str
    concurrency: int
    is_partitioned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """A finished step of a workflow, as the engine keeps it."""

    name: str
    began_at: datetime | None
    ended_at: datetime | None
