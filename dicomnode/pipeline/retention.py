"""Making room: what goes when, by age and by the state of the job that owns it.

Never before it is delivered (and committed, where that is asked for) or given up by an operator.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dicomnode.config import RetentionConfig
from dicomnode.database import Database
from dicomnode.database.job_rows import END_STATES, set_job
from dicomnode.database.retention_rows import (
    commitments_of,
    hold_settled,
    known_jobs,
    list_prunable_jobs,
    list_prunable_series,
    remove_job,
    take_instances,
)
from dicomnode.engine import JobQueue
from dicomnode.log import get_logger
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.results import Outbox

_BATCH: Final = 100
_ORPHAN_SECONDS: Final = 86_400.0
"""Files of a job that nobody knows are left alone so long: its row may be about to come."""

_log = get_logger("retention")


@dataclass(slots=True)
class Pruned:
    """What one round removed."""

    series: int = 0
    results: int = 0
    records: int = 0
    orphans: int = 0


class Retention:
    """Prunes received instances, results and records.

    Parameters
    ----------
    database : Database
    store : InstanceStore
    outbox : Outbox
    jobs : JobQueue
    policies : mapping of str to RetentionConfig
        By pipeline.
    data_dir : Path
        Whose file system the watermarks are about.
    used_share : callable, optional
        Told `data_dir`, returns how full its file system is, 0 to 1.
    """

    def __init__(
        self,
        database: Database,
        store: InstanceStore,
        outbox: Outbox,
        jobs: JobQueue,
        policies: Mapping[str, RetentionConfig],
        *,
        data_dir: Path,
        used_share: Callable[[Path], float] | None = None,
    ) -> None:
        self._database = database
        self._store = store
        self._outbox = outbox
        self._jobs = jobs
        self._policies = policies
        self._data_dir = data_dir
        self._used_share = used_share or _used_share

    def prune(self, now: datetime | None = None) -> Pruned:
        """Remove what is old enough, and more if the disk is too full; return what was removed.

        Order in an emergency: received instances first, the oldest first, then results.  Both
        can be had again, from the sender or from the destination; what is owed stays.
        """
        now = datetime.now(UTC) if now is None else now
        pruned = Pruned()
        for pipeline, policy in self._policies.items():
            received = now - timedelta(days=policy.received_days)
            results = now - timedelta(days=policy.results_days)
            records = now - timedelta(days=policy.records_days)
            for _one in self._prune_series(pipeline, received):
                pruned.series += 1
            for _one in self._prune_results(pipeline, results):
                pruned.results += 1
            pruned.records += self._prune_records(pipeline, records)
        self._relieve(now, pruned)
        pruned.orphans = self._outbox.remove_orphans(self._is_orphan)
        if any((pruned.series, pruned.results, pruned.records, pruned.orphans)):
            _log.info(
                "pruned",
                series=pruned.series,
                results=pruned.results,
                records=pruned.records,
                orphans=pruned.orphans,
            )
        return pruned

    def _relieve(self, now: datetime, pruned: Pruned) -> None:
        """Above the high watermark remove settled things whatever their age, down to the low."""
        low = min((each.low_watermark for each in self._policies.values()), default=1.0)
        if not self._is_too_full():
            return
        _log.warning("disk_above_high_watermark", share=round(self._used_share(self._data_dir), 3))
        for pipeline in self._policies:
            for _one in self._prune_series(pipeline, now):
                pruned.series += 1
                if self._used_share(self._data_dir) < low:
                    return
        for pipeline in self._policies:
            for _one in self._prune_results(pipeline, now):
                pruned.results += 1
                if self._used_share(self._data_dir) < low:
                    return
        _log.error("disk_still_full", share=round(self._used_share(self._data_dir), 3))

    def _prune_series(self, pipeline: str, before: datetime) -> Iterator[str]:
        while True:
            with self._database.begin() as transaction:
                found = list_prunable_series(transaction, pipeline, before=before, limit=_BATCH)
            progress = False
            for uid in found:
                with self._database.begin() as transaction:
                    # Files go while the series is locked: an instance of it that comes meanwhile
                    # finds its file gone when it has its row, and is refused until sent again.
                    keys = take_instances(transaction, pipeline, uid, before=before)
                    self._store.remove(keys)
                progress = progress or bool(keys)
                yield uid
            if not progress:
                return

    def _prune_results(self, pipeline: str, before: datetime) -> Iterator[str]:
        while True:
            with self._database.begin() as transaction:
                found = list_prunable_jobs(
                    transaction, pipeline, before=before, with_files=True, limit=_BATCH
                )
            for job_id in found:
                with self._database.begin() as transaction:
                    if not hold_settled(transaction, job_id, before=before):
                        continue  # an operator sends it anew
                    self._outbox.remove(job_id)
                    set_job(transaction, job_id, keep_time=True, files={})
                yield job_id
            if not found:
                return

    def _prune_records(self, pipeline: str, before: datetime) -> int:
        count = 0
        while True:
            with self._database.begin() as transaction:
                found = list_prunable_jobs(
                    transaction, pipeline, before=before, with_files=False, limit=_BATCH
                )
                asked = commitments_of(transaction, found)
            if not found:
                return count
            # First: once the rows are gone, nobody knows any more what the engine is to forget.
            self._jobs.forget([*found, *asked])
            for job_id in found:
                self._outbox.remove(job_id)
                self._outbox.clear_work(job_id)
                with self._database.begin() as transaction:
                    remove_job(transaction, job_id)
                count += 1

    def _is_orphan(self, job_id: str, changed_at: float, *, is_work: bool) -> bool:
        """Whether files belong to no job, or are work files of one that has ended."""
        with self._database.begin() as transaction:
            known = known_jobs(transaction, [job_id])
        if job_id not in known:
            return time.time() - changed_at > _ORPHAN_SECONDS
        if not is_work or known[job_id] not in END_STATES:
            return False
        # A retry goes on from what a failed job left; where room is short it is made again.
        return known[job_id] != "failed" or self._is_too_full()

    def _is_too_full(self) -> bool:
        high = min((each.high_watermark for each in self._policies.values()), default=1.0)
        return self._used_share(self._data_dir) >= high


def _used_share(folder: Path) -> float:
    usage = shutil.disk_usage(folder)
    return 1.0 - usage.free / usage.total
