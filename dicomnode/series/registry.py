"""The shell around completion: records what arrives, closes series, hands them to the job engine.

Called by the receiver's threads and by one of its own.  `completion` decides, nothing here does.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from dicomnode.config import CompletionConfig
from dicomnode.database import Database, Transaction, is_away
from dicomnode.database.note_rows import NoteKind, add_note
from dicomnode.database.series_rows import (
    Arrived,
    Duplicates,
    Recorded,
    close_series,
    find_instances,
    get_series,
    hold_series,
    list_digests,
    list_instances,
    list_series,
    record_instance,
    record_instances,
)
from dicomnode.database.touch_rows import (
    forget_association,
    forget_receiver,
    read_traffic,
    record_touch,
)
from dicomnode.errors import DuplicateInstance
from dicomnode.log import get_logger
from dicomnode.metrics import SERIES_CLOSED
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision
from dicomnode.series.batches import BatchWriter
from dicomnode.series.completion import (
    AskCount,
    AssociationEnded,
    Close,
    Counted,
    Event,
    Hold,
    InstanceStored,
    Limits,
    SeriesState,
    Survey,
    Surveyed,
    Tick,
    TouchedElsewhere,
    next_check,
    resume,
    step,
)
from dicomnode.series.neighbors import Neighbors

_Key = tuple[str, str]  # pipeline, Series Instance UID

_ADOPT_SECONDS: Final = 20.0
"""How often to look for open series that nobody here watches: left by another receiver, or released
by a person."""

_RESTORED_AT_ONCE: Final = 200

_QUESTIONS: Final = 4
"""Archives that are asked at the same time."""

_log = get_logger("series")


class Inquiry(Protocol):
    """What the registry cannot find out itself."""

    def is_contiguous(self, refs: Iterable[InstanceRef]) -> bool:
        """Whether the slices of a series lie without a gap."""

    def expected_count(
        self,
        pipeline: str,
        *,
        study_instance_uid: str,
        series_instance_uid: str,
        calling_ae_title: str,
    ) -> int | None:
        """Ask the pipeline's archive how many instances a series has; None if it does not say."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """An instance whose file is durable and whose row is not yet."""

    at: float
    association_id: str
    arrived: Arrived


@dataclass(frozen=True, slots=True)
class _Ended:
    """An association that has ended, after its instances."""

    at: float
    association_id: str
    how: Literal["released", "aborted"]


class SeriesRegistry:
    """Knows which series are open and closes them when they are complete.

    Parameters
    ----------
    database : Database
    completion : mapping of str to CompletionConfig
        By pipeline.
    submit : callable
        Called in the transaction that closes a series, with its revision: both or neither.
    duplicates : mapping, optional
        By pipeline; the first of two is kept without.
    inquiry : Inquiry or None
        None: series are closed by time alone.
    receiver : str
        Names this process among those that receive on the database.
    clock : callable
        Monotonic seconds.
    neighbors : Neighbors or None
        Where other receivers may share the database.
    """

    def __init__(
        self,
        database: Database,
        *,
        completion: Mapping[str, CompletionConfig],
        submit: Callable[[Transaction, SeriesRevision], str | None],
        duplicates: Mapping[str, Duplicates] | None = None,
        inquiry: Inquiry | None = None,
        receiver: str = "node",
        clock: Callable[[], float] = time.monotonic,
        neighbors: Neighbors | None = None,
    ) -> None:
        self._database = database
        self._completion = completion
        self._submit = submit
        self._duplicates = dict(duplicates or {})
        self._inquiry = inquiry
        self._receiver = receiver
        self._limits = {name: _limits(each, inquiry) for name, each in completion.items()}
        # Instances of an open series that are known here; more are another receiver's.
        self._counts: dict[_Key, int] = {}
        self._unknown: set[str] = set()
        # When the first instance of a series came that is about to be closed.
        self._first: dict[_Key, float] = {}
        self._questions = ThreadPoolExecutor(_QUESTIONS, thread_name_prefix="series-ask")
        self._clock = clock
        self._neighbors = neighbors
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open: dict[_Key, SeriesState] = {}
        self._due: list[tuple[_Key, SeriesState, Close | Hold]] = []
        self._surveys: list[tuple[_Key, Survey]] = []
        self._touched: defaultdict[str, set[_Key]] = defaultdict(set)
        # Of series that are being received: what must be known of an instance before its row is
        # written is whether another one has its SOP Instance UID.
        self._digests: dict[_Key, dict[str, str]] = {}
        self._stopping = False
        self._rows: BatchWriter[_Stored | _Ended] = BatchWriter(self._record, name="series-rows")
        self._closer = threading.Thread(target=self._run, name="series-closer", daemon=True)

    def start(self) -> None:
        """Take up the series that were open when the node last stopped, and watch from now on."""
        with self._database.begin() as transaction:
            forget_receiver(transaction, self._receiver)
        self._adopt()
        self._rows.start()
        self._closer.start()

    def stop(self) -> None:
        """Close no more series; those that are open stay so until the next start."""
        self._rows.stop()
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._closer.join()
        self._questions.shutdown(wait=True, cancel_futures=True)

    def _adopt(self) -> None:
        """Take up the open series of the database that are not watched here."""
        with self._database.begin() as transaction:
            rows = list_series(transaction, state="open", limit=100_000)
        now = self._clock()
        with self._lock:
            for row in rows:
                key = row.pipeline, row.series_instance_uid
                if row.pipeline not in self._completion:
                    if row.pipeline not in self._unknown:
                        self._unknown.add(row.pipeline)
                        _log.warning("series_of_unknown_pipeline", pipeline=row.pipeline)
                elif key not in self._open or self._open[key].first_instance_at is None:
                    self._open[key] = resume(now)
                    self._counts[key] = row.instance_count

    # -- what the receiver tells

    def restore(
        self,
        found: Iterable[tuple[str, InstanceRef]],
        *,
        source_ae_title: Callable[[InstanceRef], str] = lambda _ref: "",
    ) -> int:
        """Record instances that the spool holds and the database may not; before `start`.

        Parameters
        ----------
        found : iterable of (str, InstanceRef)
            With their pipelines.
        source_ae_title : callable
            Says who sent an instance.

        Returns
        -------
        int
            How many were not recorded.
        """
        restored = 0
        batch: list[Arrived] = []
        for pipeline, ref in found:
            now = datetime.now(UTC)
            sender = source_ae_title(ref)
            batch.append(Arrived(pipeline=pipeline, ref=ref, calling_ae_title=sender, at=now))
            if len(batch) >= _RESTORED_AT_ONCE:
                restored += self._restore(batch)
                batch.clear()
        return restored + self._restore(batch)

    def _restore(self, batch: Sequence[Arrived]) -> int:
        with self._database.begin() as transaction:
            recorded = self._record_all(transaction, batch, decide=_record_first)
        return sum(each.is_new for each in recorded)

    def instance_stored(
        self, pipeline: str, ref: InstanceRef, *, calling_ae_title: str, association_id: str
    ) -> bool:
        """Take note of an instance whose file is durable.

        Its row follows within a moment, in one transaction with others.  The file is the truth
        until then: `restore` finds it after a crash.

        Returns
        -------
        bool
            False if an earlier one of its SOP Instance UID, with other content, is kept instead.

        Raises
        ------
        DuplicateInstance
            The same, where the pipeline refuses such instances.
        StateError
            If rows cannot be written now.
        """
        now = datetime.now(UTC)
        arrived = Arrived(pipeline=pipeline, ref=ref, calling_ae_title=calling_ae_title, at=now)
        stored = _Stored(self._clock(), association_id, arrived)
        self._touch(association_id, (pipeline, ref.series_instance_uid))
        if self._first_digest(pipeline, ref) == ref.sha256:
            self._rows.put(stored)
            return True
        return self._record_other_content(stored)

    def _touch(self, association_id: str, key: _Key) -> None:
        """Tell other receivers, once an association and series, and before Success is told."""
        with self._lock:
            if key in self._touched.get(association_id, ()):
                return
        with self._database.begin() as transaction:
            record_touch(transaction, association_id, *key, receiver=self._receiver)
        with self._lock:
            self._touched[association_id].add(key)

    def _first_digest(self, pipeline: str, ref: InstanceRef) -> str:
        """Return the digest of the first instance with this SOP Instance UID, perhaps this one."""
        key = (pipeline, ref.series_instance_uid)
        with self._lock:
            known = self._digests.get(key)
        if known is None:
            # Once a series: rows that are still to be written count.
            self._rows.flush()
            with self._database.begin() as transaction:
                found = list_digests(transaction, *key)
            with self._lock:
                known = self._digests.setdefault(key, found)
        with self._lock:
            if ref.sop_instance_uid in known:
                return known[ref.sop_instance_uid]
        elsewhere = self._digest_elsewhere(pipeline, ref)
        if elsewhere is not None:
            return elsewhere
        with self._lock:
            return known.setdefault(ref.sop_instance_uid, ref.sha256)

    def _digest_elsewhere(self, pipeline: str, ref: InstanceRef) -> str | None:
        """Return the digest of an instance with this UID that another series holds, if any.

        Asked of the database only where the sender is told of it, since it costs a query for each
        instance.  Elsewhere it is enough to find out when the row is written.
        """
        if self._duplicates.get(pipeline, "keep-first") != "refuse":
            return None
        with self._lock:
            for (other, _), digests in self._digests.items():
                if other == pipeline and ref.sop_instance_uid in digests:
                    return digests[ref.sop_instance_uid]
        with self._database.begin() as transaction:
            found = find_instances(transaction, pipeline, [ref.sop_instance_uid])
        first = found.get(ref.sop_instance_uid)
        return None if first is None else first.sha256

    def _record_other_content(self, stored: _Stored) -> bool:
        """Decide about an instance whose SOP Instance UID came before with other bytes.

        Its row is not deferred: what the sender is told depends on the decision.
        """
        arrived = stored.arrived
        self._rows.flush()
        with self._database.begin() as transaction:
            recorded = self._decide(transaction, arrived)
        is_kept = recorded.sha256 == arrived.ref.sha256
        with self._changed:
            self._take_in(stored, recorded)
            self._changed.notify_all()
        if not is_kept and self._policy(arrived) == "refuse":
            raise DuplicateInstance("another data set has this SOP Instance UID and is kept")
        return is_kept

    def _policy(self, arrived: Arrived) -> Duplicates:
        return self._duplicates.get(arrived.pipeline, "keep-first")

    def _decide(self, transaction: Transaction, arrived: Arrived) -> Recorded:
        """Record an instance as the pipeline's policy has it, and a note of what had to go."""
        ref, policy = arrived.ref, self._policy(arrived)
        recorded = record_instance(
            transaction,
            arrived.pipeline,
            ref,
            calling_ae_title=arrived.calling_ae_title,
            at=arrived.at,
            duplicates=policy,
        )
        is_kept = recorded.sha256 == ref.sha256
        if is_kept and recorded.replaced is None:
            return recorded
        kind: NoteKind = "replaced" if is_kept else "kept-first"
        if not is_kept and policy == "refuse":
            kind = "refused"
        add_note(
            transaction,
            arrived.pipeline,
            kind=kind,
            sop_class_uid=ref.sop_class_uid,
            sop_instance_uid=ref.sop_instance_uid,
            sha256=recorded.replaced or ref.sha256,
            calling_ae_title=arrived.calling_ae_title,
            at=arrived.at,
        )
        _log.warning(
            "instance_differs_from_first",
            pipeline=arrived.pipeline,
            sop_instance_uid=ref.sop_instance_uid,
            became=kind,
            first=(recorded.replaced or recorded.sha256)[:16],
            came=ref.sha256[:16],
        )
        return recorded

    def flush(self) -> None:
        """Return once the rows of everything stored so far are durable.

        Raises
        ------
        StateError
            If rows cannot be written now.
        """
        self._rows.flush()

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
        # After its instances, so that no series waits for an association that is gone.
        self._rows.put(_Ended(self._clock(), association_id, how), must_take=True)

    def _record(self, batch: list[_Stored | _Ended]) -> None:
        """Write the rows of a batch and let the series know; called by the thread of rows."""
        stored = [each for each in batch if isinstance(each, _Stored)]
        recorded: tuple[Recorded, ...] = ()
        with self._database.begin() as transaction:
            if stored:
                arrived = [each.arrived for each in stored]
                recorded = self._record_all(transaction, arrived, decide=self._decide)
            for each in batch:
                if isinstance(each, _Ended):
                    forget_association(transaction, each.association_id)
        results = iter(recorded)
        with self._changed:
            for each in batch:
                if isinstance(each, _Stored):
                    self._take_in(each, next(results))
                else:
                    self._let_go(each)
            self._changed.notify_all()

    def _record_all(
        self,
        transaction: Transaction,
        arrived: Sequence[Arrived],
        *,
        decide: Callable[[Transaction, Arrived], Recorded],
    ) -> tuple[Recorded, ...]:
        """Record many; decide where another process, or another series, had the UID before."""
        recorded = record_instances(transaction, arrived)
        return tuple(
            done if done.sha256 == each.ref.sha256 else decide(transaction, each)
            for each, done in zip(arrived, recorded, strict=True)
        )

    def _take_in(self, stored: _Stored, recorded: Recorded) -> None:
        """Let a series know of an instance; the lock is held."""
        pipeline, ref = stored.arrived.pipeline, stored.arrived.ref
        key = (pipeline, ref.series_instance_uid)
        if key in self._digests and (recorded.is_new or recorded.sha256 != ref.sha256):
            self._digests[key][ref.sop_instance_uid] = recorded.sha256
        self._touched[stored.association_id].add(key)
        if recorded.sha256 != ref.sha256:
            return  # another one is kept
        if recorded.instance_count is not None:
            self._counts[key] = max(self._counts.get(key, 0), recorded.instance_count)
        if recorded.is_new or key in self._open:
            event = InstanceStored(at=stored.at, association_id=stored.association_id)
            self._apply(key, event)

    def _let_go(self, ended: _Ended) -> None:
        """Let the series that an association touched know of its end; the lock is held."""
        for key in self._touched.pop(ended.association_id, ()):
            if key in self._open:
                event = AssociationEnded(
                    at=ended.at, association_id=ended.association_id, how=ended.how
                )
                self._apply(key, event)
            else:
                self._digests.pop(key, None)  # it brought nothing new

    # -- stepping

    def _apply(self, key: _Key, event: Event) -> None:
        """Step a series and note what it decides; the lock is held."""
        before = self._open.get(key, SeriesState())
        self._open[key], actions = step(before, event, self._limits[key[0]])
        for action in actions:
            match action:
                case Survey():
                    self._surveys.append((key, action))
                case AskCount():
                    self._questions.submit(self._ask, key, action)
                case Close() | Hold():
                    self._first[key] = before.first_instance_at or event.at
                    self._due.append((key, self._open[key], action))

    def _run(self) -> None:
        adopt_at = self._clock() + _ADOPT_SECONDS
        while True:
            with self._changed:
                wait_seconds = self._tick()
                if self._stopping:
                    return
                if not self._due and not self._surveys:
                    left = max(0.0, adopt_at - self._clock())
                    self._changed.wait(left if wait_seconds is None else min(wait_seconds, left))
                due, self._due = self._due, []
                surveys, self._surveys = self._surveys, []
            for key, survey in surveys:
                self._survey(key, survey)
            for key, decided_on, action in due:
                self._end(key, decided_on, action)
            if self._clock() >= adopt_at:
                adopt_at = self._clock() + _ADOPT_SECONDS
                self._try("series_adoption_failed", self._look_around)

    def _look_around(self) -> None:
        """Take up series that others opened or left: a dead neighbor, an operator's release."""
        if self._neighbors is not None:
            self._neighbors.look_after()
        self._adopt()

    def _tick(self) -> float | None:
        """Let time pass for all series; return seconds until the next can be due; lock held."""
        now = self._clock()
        checks: list[float] = []
        for key in tuple(self._open):
            self._apply(key, Tick(at=now))
            check = next_check(self._open[key], self._limits[key[0]])
            if check is not None:
                checks.append(check)
        return max(0.0, min(checks) - now) if checks else None

    # -- finding out

    def _survey(self, key: _Key, survey: Survey) -> None:
        """Look whether slices lie without a gap; what cannot be looked at is not contiguous."""
        is_contiguous = False

        def look() -> None:
            nonlocal is_contiguous
            with self._database.begin() as transaction:
                refs = list_instances(transaction, *key)
            if self._inquiry is not None:
                is_contiguous = self._inquiry.is_contiguous(refs)

        self._try("series_survey_failed", look)
        self._answer(key, Surveyed(self._clock(), survey.number, is_contiguous))

    def _ask(self, key: _Key, question: AskCount) -> None:
        """Ask the archive, in a thread of the pool; no answer counts as not known."""
        expected: int | None = None
        total = 0

        def ask() -> None:
            nonlocal expected, total
            with self._database.begin() as transaction:
                row = get_series(transaction, *key)
            if row is None or self._inquiry is None:
                return
            total = row.instance_count
            expected = self._inquiry.expected_count(
                key[0],
                study_instance_uid=row.study_instance_uid,
                series_instance_uid=row.series_instance_uid,
                calling_ae_title=row.calling_ae_title,
            )

        self._try("series_count_failed", ask)
        _log.info("series_counted", series=key[1], expected=expected, total=total)
        self._answer(key, Counted(self._clock(), question.number, expected, total))

    def _answer(self, key: _Key, event: Surveyed | Counted) -> None:
        with self._changed:
            if key in self._open:
                self._apply(key, event)
                self._changed.notify_all()

    def _try(self, failed: str, action: Callable[[], None]) -> None:
        """Do what may fail without harm to other series; say so if it does."""
        try:
            action()
        except Exception as error:  # noqa: BLE001  (one series must not stop the closing of others)
            if is_away(error):
                _log.warning(failed, error=type(error).__name__)
            else:
                _log.exception(failed, error=type(error).__name__)

    # -- closing

    def _end(self, key: _Key, decided_on: SeriesState, action: Close | Hold) -> None:
        """Close or hold a series, unless another receiver is at it."""
        pipeline, series_instance_uid = key
        try:
            self._rows.flush()
            with self._lock:
                state = self._open.get(key)
                if state is not None and state.first_instance_at is not None:
                    return  # an instance came since: it is closed with that one
            with self._database.begin() as transaction:
                if self._is_busy_elsewhere(transaction, key, action):
                    self._keep_open(key, decided_on)
                    return
                if isinstance(action, Hold):
                    hold_series(transaction, *key, because=action.reason)
                    revision, job_id = None, None
                else:
                    revision = close_series(transaction, *key, because=action.reason)
                    job_id = None if revision is None else self._submit(transaction, revision)
        except Exception as error:  # noqa: BLE001  (one series must not stop the closing of others)
            _log.exception("series_close_failed", series=series_instance_uid, error=str(error))
            with self._changed:
                self._open[key] = resume(self._clock())
            return
        with self._lock:
            # Unless an instance came since: it has opened the series anew.
            if self._open[key].first_instance_at is None:
                del self._open[key]
                self._counts.pop(key, None)
                self._digests.pop(key, None)
            self._first.pop(key, None)
        if isinstance(action, Hold):
            _log.warning("series_held", pipeline=pipeline, series=series_instance_uid)
            return
        if revision is None:
            return  # what was pending had come in time for the revision before
        SERIES_CLOSED.labels(pipeline, action.reason).inc()
        _log.info(
            "series_closed",
            pipeline=pipeline,
            series=series_instance_uid,
            because=action.reason,
            job=job_id,
        )

    def _is_busy_elsewhere(self, transaction: Transaction, key: _Key, action: Close | Hold) -> bool:
        """Whether another receiver brings, or has brought, instances that are not known here."""
        traffic = read_traffic(transaction, *key, receiver=self._receiver)
        with self._lock:
            known = self._counts.get(key, traffic.instance_count)
            self._counts[key] = traffic.instance_count
        # The deadline ends every wait, also that for a receiver that died.
        is_over = isinstance(action, Hold) or action.reason == "deadline"
        return not is_over and (traffic.is_touched_elsewhere or traffic.instance_count > known)

    def _keep_open(self, key: _Key, decided_on: SeriesState) -> None:
        """Take the decision back and wait for the quiet time from now."""
        now = self._clock()
        with self._changed:
            if self._open.get(key) is not decided_on:
                return
            first = self._first.get(key, now)
            self._open[key] = resume(first)
            self._apply(key, TouchedElsewhere(at=now))


def _record_first(transaction: Transaction, arrived: Arrived) -> Recorded:
    """Record an instance unless another one has its UID and is sound."""
    return record_instance(
        transaction,
        arrived.pipeline,
        arrived.ref,
        calling_ae_title=arrived.calling_ae_title,
        at=arrived.at,
    )


def _limits(config: CompletionConfig, inquiry: Inquiry | None) -> Limits:
    return Limits(
        quiet_seconds=config.quiet_seconds,
        deadline_seconds=config.deadline_seconds,
        settle_seconds=None
        if inquiry is None
        else min(config.settle_seconds, config.quiet_seconds),
        asks_count=inquiry is not None and config.expected_count is not None,
        at_deadline=config.at_deadline,
    )
