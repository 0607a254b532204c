"""A closed series revision and the identity of the job that analyzes it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from dicomnode.model.instance import InstanceRef


def content_digest(instances: Iterable[InstanceRef]) -> str:
    """Name the content of a series: the same instances give the same digest, in any order.

    Returns
    -------
    str
        16 hexadecimal characters of a SHA-256 over the sorted ``sop_instance_uid:digest``.
    """
    lines = sorted(f"{each.sop_instance_uid}:{each.digest}" for each in instances)
    return hashlib.sha256("\n".join(lines).encode("ascii")).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRevision:
    """One closing of a series; instances that come later make the next revision.

    Attributes
    ----------
    pipeline : str
        Name of the pipeline whose AE title the series was sent to.
    series_instance_uid : str
    revision : int
        1 for the first closing.
    digest : str
        `content_digest` of the instances it holds.
    traceparent : str or None
        W3C Trace Context of what opened it, where the node traces.
    """

    pipeline: str
    series_instance_uid: str
    revision: int
    digest: str
    traceparent: str | None = None

    def job_id(self, pipeline_version: str) -> str:
        """Return the workflow id: repeating what was already done is then a no-op."""
        return f"{self.series_instance_uid}:{self.digest}:{pipeline_version}"
