"""The shell around completion: records what arrives, closes series, hands them to the job engine.

Called by the receiver's threads and by one of its own.  `completion` decides, nothing here does.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final, Literal

from dicomnode.config import CompletionConfig
from dicomnode.database import Database, Transaction
from dicomnode.database.series_rows import close_series, list_series, record_instance
from dicomnode.log import get_logger
from dicomnode.metrics import SERIES_CLOSED
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision
from dicomnode.series.completion import (
    AssociationEnded,
    Close,
    Event,
    InstanceStored,
    SeriesState,
    Tick,
    next_check,
    resume,
    step,
)
from dicomnode.series.neighbors import Neighbors

_ADOPT_SECONDS: Final = 3.0
"""Between two looks at what is open and not known here."""

_Key = tuple[str, str]  # pipeline, Series Instance UID

_log = get_logger("series")


class SeriesRegistry:
    """Knows which series are open and closes them when they are complete.

    Parameters
    ----------
    database : Database
    completion : mapping of str to CompletionConfig
        By pipeline.
    submit : callable
        Called in the transaction that closes a series, with its revision: both or neither.
    clock : callable
        Monotonic seconds.
    neighbors : Neighbors, optional
        Where several receivers share the database.
    """

    def __init__(
        self,
        database: Database,
        *,
        completion: Mapping[str, CompletionConfig],
        submit: Callable[[Transaction, SeriesRevision], str | None],
        clock: Callable[[], float] = time.monotonic,
        neighbors: Neighbors | None = None,
    ) -> None:
        self._database = database
        self._completion = completion
        self._submit = submit
        self._clock = clock
        self._neighbors = neighbors
        self._adopted_at = clock()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open: dict[_Key, SeriesState] = {}
        self._due: list[tuple[_Key, SeriesState, Close]] = []
        self._touched: defaultdict[str, set[_Key]] = defaultdict(set)
        self._stopping = False
        self._closer = threading.Thread(target=self._run, name="series-closer", daemon=True)

    def start(self) -> None:
        """Take up the series that were open when the node last stopped, and watch from now on."""
        with self._database.begin() as transaction:
            rows = list_series(transaction, state="open")
        now = self._clock()
        with self._lock:
            for row in rows:
                if row.pipeline in self._completion:
                    self._open[row.pipeline, row.series_instance_uid] = resume(now)
                else:
                    _log.warning("series_of_unknown_pipeline", pipeline=row.pipeline)
        self._closer.start()

    def stop(self) -> None:
        """Close no more series; those that are open stay so until the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._closer.join()

    # -- what the receiver tells

    def restore(self, found: Iterable[tuple[str, InstanceRef]]) -> int:
        """Record instances that the spool holds and the database may not; before `start`.

        Returns
        -------
        int
            How many were not recorded.
        """
        restored = 0
        for pipeline, ref in found:
            with self._database.begin() as transaction:
                recorded = record_instance(
                    transaction, pipeline, ref, calling_ae_title="", at=datetime.now(UTC)
                )
            restored += recorded.is_new
        return restored

    def instance_stored(
        self, pipeline: str, ref: InstanceRef, *, calling_ae_title: str, association_id: str
    ) -> None:
        """Record an instance whose file is durable; returns when its row is, too."""
        with self._database.begin() as transaction:
            recorded = record_instance(
                transaction, pipeline, ref, calling_ae_title=calling_ae_title, at=datetime.now(UTC)
            )
            if self._neighbors is not None:
                self._neighbors.touch(
                    transaction,
                    association_id,
                    pipeline=pipeline,
                    series_instance_uid=ref.series_instance_uid,
                )
        if recorded.sha256 != ref.sha256:
            _log.warning(
                "instance_differs_from_first",
                pipeline=pipeline,
                sop_instance_uid=ref.sop_instance_uid,
                kept=recorded.sha256[:16],
                came=ref.sha256[:16],
            )
        key = (pipeline, ref.series_instance_uid)
        with self._changed:
            self._touched[association_id].add(key)
            if recorded.is_new or key in self._open:
                self._apply(key, InstanceStored(at=self._clock(), association_id=association_id))
                self._changed.notify_all()

    def association_opened(
        self, association_id: str, *, pipeline: str, calling_ae_title: str
    ) -> None:
        """Note an association; it concerns a series once it brings an instance of it."""
        _log.info(
            "association_opened",
            association=association_id,
            pipeline=pipeline,
            calling_ae_title=calling_ae_title,
        )

    def association_ended(
        self, association_id: str, *, pipeline: str, how: Literal["released", "aborted"]
    ) -> None:
        """Let the series that the association brought instances of know that it ended."""
        _log.info("association_ended", association=association_id, pipeline=pipeline, how=how)
        with self._changed:
            has_touched = association_id in self._touched
            for key in self._touched.pop(association_id, ()):
                if key in self._open:
                    event = AssociationEnded(
                        at=self._clock(), association_id=association_id, how=how
                    )
                    self._apply(key, event)
            self._changed.notify_all()
        if has_touched and self._neighbors is not None:
            self._neighbors.ended(association_id)

    # -- closing

    def _apply(self, key: _Key, event: Event) -> None:
        """Step a series and note what it decides; the lock is held."""
        self._open[key], actions = step(
            self._open.get(key, SeriesState()), event, **self._limits(key)
        )
        self._due.extend((key, self._open[key], action) for action in actions)

    def _limits(self, key: _Key) -> dict[str, float]:
        config = self._completion[key[0]]
        return {
            "quiet_seconds": config.quiet_seconds,
            "deadline_seconds": config.deadline_seconds,
        }

    def _run(self) -> None:
        while True:
            self._look_around()
            with self._changed:
                wait_seconds = self._tick()
                if self._stopping:
                    return
                if not self._due:
                    soon = _ADOPT_SECONDS if wait_seconds is None else wait_seconds
                    self._changed.wait(min(soon, _ADOPT_SECONDS))
                    continue
                due, self._due = self._due, []
            for key, decided_on, close in due:
                self._close(key, decided_on, close)

    def _look_around(self) -> None:
        """Take up series that others opened or left: a dead neighbor, an operator's release."""
        now = self._clock()
        if now < self._adopted_at + _ADOPT_SECONDS:
            return
        self._adopted_at = now
        try:
            if self._neighbors is not None:
                self._neighbors.look_after()
            with self._database.begin() as transaction:
                rows = list_series(transaction, state="open")
        except Exception as error:  # noqa: BLE001  (must outlive a database that is away)
            _log.warning("adoption_failed", error=type(error).__name__)
            return
        with self._lock:
            for row in rows:
                # Also those of the living: whoever closes a series first has closed it.
                if row.pipeline in self._completion:
                    key = (row.pipeline, row.series_instance_uid)
                    self._open.setdefault(key, resume(self._clock()))

    def _tick(self) -> float | None:
        """Let time pass for all series; return seconds until the next can be due; lock held."""
        now = self._clock()
        checks: list[float] = []
        for key in tuple(self._open):
            self._apply(key, Tick(at=now))
            check = next_check(self._open[key], **self._limits(key))
            if check is not None:
                checks.append(check)
        return max(0.0, min(checks) - now) if checks else None

    def _close(self, key: _Key, decided_on: SeriesState, close: Close) -> None:
        pipeline, series_instance_uid = key
        try:
            with self._database.begin() as transaction:
                is_busy = (
                    close.reason != "deadline"
                    and self._neighbors is not None
                    and self._neighbors.is_busy(
                        transaction,
                        pipeline,
                        series_instance_uid,
                        quiet_seconds=self._completion[pipeline].quiet_seconds,
                    )
                )
                revision = None
                if not is_busy:
                    revision = close_series(
                        transaction, pipeline, series_instance_uid, because=close.reason
                    )
                job_id = None if revision is None else self._submit(transaction, revision)
        except Exception as error:  # noqa: BLE001  (one series must not stop the closing of others)
            _log.exception("series_close_failed", series=series_instance_uid, error=str(error))
            with self._changed:
                self._open[key] = resume(self._clock())
            return
        if is_busy:
            with self._changed:
                self._open[key] = resume(self._clock())
            return
        with self._lock:
            # Unless an instance came since: it has opened the series anew.
            if self._open.get(key) is decided_on:
                del self._open[key]
        SERIES_CLOSED.labels(pipeline, close.reason).inc()
        _log.info(
            "series_closed",
            pipeline=pipeline,
            series=series_instance_uid,
            because=close.reason,
            job=job_id,
        )
