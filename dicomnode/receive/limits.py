"""How much may be received: size of an instance, quota of a pipeline, room on the disk.

Whoever brings the bytes asks here while they come; what is over a limit is never held whole.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicomnode.errors import InstanceTooLarge, SpoolFull
from dicomnode.spool.instances import InstanceStore


@dataclass(slots=True)
class _Usage:
    asked_at: float
    size_bytes: int


class Limits:
    """The limits, fixed at start.

    Parameters
    ----------
    store : InstanceStore
        Knows the free space.
    max_instance_bytes : int, optional
        Largest data set; no limit by default.
    headroom_bytes : int
        Free space beyond the store's reserve below which no association is admitted, so that
        those that are open find room to the end.
    quotas : mapping
        Pipeline -> most bytes stored for it; others have no limit of their own.
    stored_bytes : callable
        Told a pipeline, how much is stored for it.
    refresh_seconds : float
        How long that answer holds; what is stored meanwhile is added to it.
    clock : callable
        Monotonic seconds.
    """

    def __init__(
        self,
        store: InstanceStore,
        *,
        max_instance_bytes: int | None = None,
        headroom_bytes: int = 0,
        quotas: Mapping[str, int] | None = None,
        stored_bytes: Callable[[str], int] = lambda _pipeline: 0,
        refresh_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._max_instance_bytes = max_instance_bytes
        self._headroom_bytes = headroom_bytes
        self._quotas = dict(quotas or {})
        self._stored_bytes = stored_bytes
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._usage: dict[str, _Usage] = {}
        self._lock = threading.Lock()

    @property
    def max_instance_bytes(self) -> int | None:
        """Largest data set; None without a limit."""
        return self._max_instance_bytes

    def shortage(self, pipeline: str) -> str | None:
        """Say why no association should be admitted to a pipeline now; None if one may be."""
        try:
            left = self._store.free_bytes()
        except SpoolFull as error:
            return str(error)
        if left < self._headroom_bytes:
            return f"{max(left, 0)} bytes are free beyond the reserve, less than the headroom"
        quota = self._quotas.get(pipeline)
        if quota is not None and self._used(pipeline) >= quota:
            return f"the quota of pipeline {pipeline} is used up"
        return None

    def room(self, pipeline: str) -> int:
        """Return how large a data set may become before `check` need be asked."""
        most = sys.maxsize if self._max_instance_bytes is None else self._max_instance_bytes
        quota = self._quotas.get(pipeline)
        return most if quota is None else max(0, min(most, quota - self._used(pipeline)))

    def check(self, pipeline: str, size_bytes: int) -> None:
        """Check a data set that has so many bytes, or has so many so far.

        Raises
        ------
        InstanceTooLarge
            If that is more than an instance may have.
        SpoolFull
            If it does not fit into the pipeline's quota.
        """
        most = self._max_instance_bytes
        if most is not None and size_bytes > most:
            raise InstanceTooLarge(f"wanted at most {most} bytes of data set, found more")
        quota = self._quotas.get(pipeline)
        if quota is not None and self._used(pipeline) + size_bytes > quota:
            raise SpoolFull(f"the quota of pipeline {pipeline} has no room for {size_bytes} bytes")

    def add(self, pipeline: str, size_bytes: int) -> None:
        """Take note of what was stored."""
        with self._lock:
            if pipeline in self._usage:
                self._usage[pipeline].size_bytes += size_bytes

    def _used(self, pipeline: str) -> int:
        now = self._clock()
        with self._lock:
            usage = self._usage.get(pipeline)
            if usage is not None and now - usage.asked_at < self._refresh_seconds:
                return usage.size_bytes
        size_bytes = self._stored_bytes(pipeline)
        with self._lock:
            self._usage[pipeline] = _Usage(now, size_bytes)
        return size_bytes
