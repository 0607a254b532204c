"""Putting on record who looks at the images of a job, and who takes its results along."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Final, Literal

from fastapi import Request

from dicomnode.console.access import Person
from dicomnode.console.audit import Shown
from dicomnode.console.parts import Parts
from dicomnode.database.job_rows import JobRow
from dicomnode.database.series_rows import get_series, list_instances

_AGAIN_SECONDS: Final = 600.0
"""Slices of one job that somebody turns within this time are one look."""
_MOST_REMEMBERED: Final = 10_000


class Looks:
    """Tells the audit log.

    Parameters
    ----------
    parts : Parts
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = threading.Lock()
        self._last: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    def opened(
        self, request: Request, person: Person, job: JobRow, what: Literal["images", "report"]
    ) -> None:
        """Record that somebody opened a page on a job."""
        if what == "images":
            self._is_new(request, person, job)
        self._parts.audit.viewed(request, person, [self._shown(job)], what=what)

    def turned(self, request: Request, person: Person, job: JobRow) -> None:
        """Record that somebody asked for a slice, unless that belongs to a look on record."""
        if self._is_new(request, person, job):
            self._parts.audit.viewed(request, person, [self._shown(job)], what="images")

    def exported(self, request: Request, person: Person, job: JobRow, name: str) -> None:
        """Record that somebody took a file along."""
        self._parts.audit.exported(request, person, [self._shown(job)], what=name)

    def _is_new(self, request: Request, person: Person, job: JobRow) -> bool:
        # By address too: many may be nobody in particular.
        key = (person.name, self._parts.access.client(request).address, job.id)
        now = time.monotonic()
        with self._lock:
            last = self._last.pop(key, None)
            self._last[key] = now
            while len(self._last) > _MOST_REMEMBERED:
                self._last.popitem(last=False)
        return last is None or now - last > _AGAIN_SECONDS

    def _shown(self, job: JobRow) -> Shown:
        with self._parts.database.begin() as transaction:
            series = get_series(transaction, job.pipeline, job.series_instance_uid)
            refs = list_instances(transaction, job.pipeline, job.series_instance_uid)
        return Shown(
            study_instance_uid="" if series is None else series.study_instance_uid,
            series_instance_uid=job.series_instance_uid,
            sop_class_uids=sorted({each.sop_class_uid for each in refs}),
            instance_count=len(refs),
            patient=self._parts.patients.read(job.pipeline, job.series_instance_uid),
        )
