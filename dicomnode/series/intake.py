"""What arrives at a receiver: rows for it, in batches, and which of two like instances stays.

Called by the receiver's threads.  When a series is complete, `watch` finds out.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from dicomnode import tracing
from dicomnode.database import Database, Transaction
from dicomnode.database.note_rows import NoteKind, add_note
from dicomnode.database.series_rows import (
    Arrived,
    Duplicates,
    Recorded,
    find_instances,
    list_digests,
    record_instance,
    record_instances,
)
from dicomnode.database.touch_rows import forget_association, record_touch
from dicomnode.errors import DuplicateInstance
from dicomnode.log import get_logger
from dicomnode.model.instance import InstanceRef
from dicomnode.series.batches import BatchWriter
from dicomnode.series.completion import AssociationEnded, InstanceStored
from dicomnode.series.watch import Key, News, Watch

_RESTORED_AT_ONCE: Final = 200

_log = get_logger("series")


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


class Intake:
    """Records what arrives and lets the watch over open series know.

    Parameters
    ----------
    database : Database
    watch : Watch
    receiver : str
        Names this process among those that receive on the database.
    duplicates : mapping
        By pipeline; the first of two is kept without.
    clock : callable
        Monotonic seconds.
    set_aside : callable
        Told pipeline and instance where another one is kept under its UID though its sender was
        told Success: its file is recorded nowhere.
    rows_first : bool
        Whether rows are durable before `instance_stored` returns, not soon after.
    """

    def __init__(
        self,
        database: Database,
        watch: Watch,
        *,
        receiver: str,
        duplicates: Mapping[str, Duplicates],
        clock: Callable[[], float],
        set_aside: Callable[[str, InstanceRef], None],
        rows_first: bool = False,
    ) -> None:
        self._database = database
        self._set_aside = set_aside
        self._watch = watch
        self._receiver = receiver
        self._duplicates = dict(duplicates)
        self._clock = clock
        self._rows_first = rows_first
        self._lock = threading.Lock()
        self._touched: defaultdict[str, set[Key]] = defaultdict(set)
        # Of series that are being received: what must be known of an instance before its row is
        # written is whether another one has its SOP Instance UID.
        self._digests: dict[Key, dict[str, str]] = {}
        self._rows: BatchWriter[_Stored | _Ended] = BatchWriter(self._record, name="series-rows")

    def start(self) -> None:
        """Begin to write rows."""
        self._rows.start()

    def stop(self) -> None:
        """Write what is left, and end."""
        self._rows.stop()

    def forget(self, key: Key) -> None:
        """Drop what is remembered of a series that was closed."""
        with self._lock:
            self._digests.pop(key, None)

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
            others = [
                each
                for each, done in zip(batch, recorded, strict=True)
                if done.digest != each.ref.digest and _is_of_other_series(transaction, each)
            ]
        # One of the same series may be the one that was replaced, which an analysis may still read.
        for each in others:
            self._set_aside(each.pipeline, each.ref)
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
        arrived = Arrived(
            pipeline=pipeline,
            ref=ref,
            calling_ae_title=calling_ae_title,
            at=now,
            traceparent=tracing.context(),
        )
        stored = _Stored(self._clock(), association_id, arrived)
        if self._policy(arrived) == "refuse":
            # The sender is told of another one under its UID, in whatever series, whoever else
            # receives: that only the database can say, and only of rows that are written.
            self._touch(association_id, (pipeline, ref.series_instance_uid))
            return self._record_now(stored)
        first = self._known_digest(association_id, pipeline, ref)
        if first is None:
            first = self._first_digest(association_id, pipeline, ref)
        if first == ref.digest:
            self._rows.put(stored)
            if self._rows_first:
                self._rows.flush()
            return True
        self._rows.flush()
        return self._record_now(stored)

    def _known_digest(self, association_id: str, pipeline: str, ref: InstanceRef) -> str | None:
        """Do as `_first_digest` where that takes no database: nearly always."""
        key = (pipeline, ref.series_instance_uid)
        with self._lock:
            known = self._digests.get(key)
            if known is None or key not in self._touched.get(association_id, ()):
                return None
            return known.setdefault(ref.sop_instance_uid, ref.digest)

    def _touch(self, association_id: str, key: Key) -> None:
        """Tell other receivers, once an association and series, and before Success is told."""
        with self._lock:
            if key in self._touched.get(association_id, ()):
                return
        with self._database.begin() as transaction:
            record_touch(transaction, association_id, *key, receiver=self._receiver)
        with self._lock:
            self._touched[association_id].add(key)

    def _first_digest(self, association_id: str, pipeline: str, ref: InstanceRef) -> str:
        """Return the digest of the first instance with this SOP Instance UID, perhaps this one.

        Does as `_touch`, in the same transaction: both once an association and series.
        """
        key = (pipeline, ref.series_instance_uid)
        with self._lock:
            known = self._digests.get(key)
        if known is None and self._rows.holds(lambda each: _is_of(each, key)):
            self._rows.flush()
        with self._database.begin() as transaction:
            record_touch(transaction, association_id, *key, receiver=self._receiver)
            found = list_digests(transaction, *key) if known is None else known
        with self._lock:
            self._touched[association_id].add(key)
            known = self._digests.setdefault(key, found)
            return known.setdefault(ref.sop_instance_uid, ref.digest)

    def _record_now(self, stored: _Stored) -> bool:
        """Write a row that is not deferred: what the sender is told depends on it."""
        arrived = stored.arrived
        with self._database.begin() as transaction:
            recorded = self._decide(transaction, arrived)
        is_kept = recorded.digest == arrived.ref.digest
        with self._lock:
            news = self._take_in(stored, recorded)
        if news is not None:
            self._tell([news])
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
        is_kept = recorded.digest == ref.digest
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
            digest=recorded.replaced or ref.digest,
            calling_ae_title=arrived.calling_ae_title,
            at=arrived.at,
        )
        _log.warning(
            "instance_differs_from_first",
            pipeline=arrived.pipeline,
            sop_instance_uid=ref.sop_instance_uid,
            became=kind,
            first=(recorded.replaced or recorded.digest)[:16],
            came=ref.digest[:16],
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

    def association_ended(
        self,
        association_id: str,
        *,
        pipeline: str,  # noqa: ARG002 - the sink's shape
        how: Literal["released", "aborted"],
    ) -> None:
        """Let the series that the association brought instances of know that it ended."""
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
        news: list[News] = []
        with self._lock:
            for each in batch:
                if isinstance(each, _Ended):
                    news += self._let_go(each)
                elif (one := self._take_in(each, next(results))) is not None:
                    news.append(one)
        self._tell(news)
        for each, done in zip(stored, recorded, strict=True):
            if done.digest != each.arrived.ref.digest:
                self._set_aside(each.arrived.pipeline, each.arrived.ref)

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
            done if done.digest == each.ref.digest else decide(transaction, each)
            for each, done in zip(arrived, recorded, strict=True)
        )

    def _take_in(self, stored: _Stored, recorded: Recorded) -> News | None:
        """Take note of an instance; return what its series is to be told; the lock is held."""
        pipeline, ref = stored.arrived.pipeline, stored.arrived.ref
        key = (pipeline, ref.series_instance_uid)
        if key in self._digests and (recorded.is_new or recorded.digest != ref.digest):
            self._digests[key][ref.sop_instance_uid] = recorded.digest
        self._touched[stored.association_id].add(key)
        if recorded.digest != ref.digest:
            return None  # another one is kept
        event = InstanceStored(at=stored.at, association_id=stored.association_id)
        return News(key, event, instance_count=recorded.instance_count, opens=recorded.is_new)

    def _let_go(self, ended: _Ended) -> list[News]:
        """Return what the series are to be told that an association touched; the lock is held."""
        event = AssociationEnded(at=ended.at, association_id=ended.association_id, how=ended.how)
        return [News(key, event) for key in self._touched.pop(ended.association_id, ())]

    def _tell(self, news: Sequence[News]) -> None:
        for key in self._watch.tell(news):
            self.forget(key)  # it is not open: the association brought nothing new


def _is_of(waiting: _Stored | _Ended, key: Key) -> bool:
    """Whether this is an instance of that series."""
    if isinstance(waiting, _Ended):
        return False
    return (waiting.arrived.pipeline, waiting.arrived.ref.series_instance_uid) == key


def _record_first(transaction: Transaction, arrived: Arrived) -> Recorded:
    """Record an instance unless another one has its UID and is sound."""
    return record_instance(
        transaction,
        arrived.pipeline,
        arrived.ref,
        calling_ae_title=arrived.calling_ae_title,
        at=arrived.at,
    )


def _is_of_other_series(transaction: Transaction, arrived: Arrived) -> bool:
    uid = arrived.ref.sop_instance_uid
    kept = find_instances(transaction, arrived.pipeline, [uid])[uid]
    return kept.series_instance_uid != arrived.ref.series_instance_uid
