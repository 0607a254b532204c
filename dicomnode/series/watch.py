"""The series that are open: time passes for them, they are looked at, closed, handed on.

`completion` decides, nothing here does.  Rows of instances are `intake`'s.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicomnode.config import CompletionConfig
from dicomnode.database import Database, Transaction
from dicomnode.database.series_rows import (
    close_series,
    hold_series,
    list_series,
)
from dicomnode.database.touch_rows import read_traffic
from dicomnode.log import bound, get_logger
from dicomnode.metrics import SERIES_CLOSED
from dicomnode.model.series import SeriesRevision
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
from dicomnode.series.questions import Inquiry, Questions, attempt

Key = tuple[str, str]
"""Pipeline and Series Instance UID."""

_ADOPT_SECONDS: Final = 20.0
"""How often to look for open series that nobody here watches: left by another receiver, or released
by a person."""

_log = get_logger("series")


@dataclass(frozen=True, slots=True)
class News:
    """What a series is to be told.

    Attributes
    ----------
    key : tuple of str
    event : InstanceStored or AssociationEnded
    instance_count : int or None
        Instances recorded with it, where that is known.
    opens : bool
        Whether it also concerns a series that is not open.
    """

    key: Key
    event: InstanceStored | AssociationEnded
    instance_count: int | None = None
    opens: bool = False


class Watch:
    """Knows which series are open and closes them when they are complete.

    Parameters
    ----------
    database : Database
    completion : mapping of str to CompletionConfig
        By pipeline.
    submit : callable
        Called in the transaction that closes a series, with its revision: both or neither.
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
        inquiry: Inquiry | None,
        receiver: str,
        clock: Callable[[], float],
        neighbors: Neighbors | None,
    ) -> None:
        self._database = database
        self._completion = completion
        self._submit = submit
        self._receiver = receiver
        self._limits = {name: _limits(each, inquiry) for name, each in completion.items()}
        # Instances of an open series that are known here; more are another receiver's.
        self._counts: dict[Key, int] = {}
        self._unknown: set[str] = set()
        # When the first instance of a series came that is about to be closed.
        self._first: dict[Key, float] = {}
        self._questions = Questions(database, inquiry, clock=clock)
        self._clock = clock
        self._neighbors = neighbors
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open: dict[Key, SeriesState] = {}
        self._due: list[tuple[Key, SeriesState, Close | Hold]] = []
        self._surveys: list[tuple[Key, Survey]] = []
        self._stopping = False
        self._flush: Callable[[], None] = lambda: None
        self._forget: Callable[[Key], None] = lambda _key: None
        self._turned_at = time.monotonic()
        self._closer = threading.Thread(target=self._run, name="series-closer", daemon=True)

    def start(self, *, flush: Callable[[], None], forget: Callable[[Key], None]) -> None:
        """Take up what is open, and watch from now on.

        Parameters
        ----------
        flush : callable
            Returns once the rows of what has come so far are written.
        forget : callable
            Told of series that were closed.
        """
        self._flush, self._forget = flush, forget
        self.adopt()
        self._closer.start()

    def silent_seconds(self) -> float:
        """Return for how long the closing thread has not come round; infinite if it has ended."""
        return time.monotonic() - self._turned_at if self._closer.is_alive() else float("inf")

    def stop(self) -> None:
        """Close no more series; those that are open stay so until the next start."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._closer.join()
        self._questions.stop()

    def tell(self, news: Sequence[News]) -> list[Key]:
        """Let series know what happened, in that order.

        Returns
        -------
        list of tuple of str
            Series that are not open though an association that touched them has ended.
        """
        idle: list[Key] = []
        with self._changed:
            for each in thin_out(news):
                if each.instance_count is not None:
                    known = self._counts.get(each.key, 0)
                    self._counts[each.key] = max(known, each.instance_count)
                if each.opens or each.key in self._open:
                    self._apply(each.key, each.event)
                elif isinstance(each.event, AssociationEnded):
                    idle.append(each.key)
            self._changed.notify_all()
        return idle

    def adopt(self) -> None:
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

    def _apply(self, key: Key, event: Event) -> None:
        """Step a series and note what it decides; the lock is held."""
        before = self._open.get(key, SeriesState())
        self._open[key], actions = step(before, event, self._limits[key[0]])
        for action in actions:
            match action:
                case Survey():
                    self._surveys.append((key, action))
                case AskCount():
                    self._questions.ask(key, action, self._answer)
                case Close() | Hold():
                    self._first[key] = before.first_instance_at or event.at
                    self._due.append((key, self._open[key], action))

    def _run(self) -> None:
        adopt_at = self._clock() + _ADOPT_SECONDS
        while True:
            self._turned_at = time.monotonic()
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
                self._answer(key, self._questions.survey(key, survey))
            for key, decided_on, action in due:
                with bound(pipeline=key[0], series=key[1]):
                    self._end(key, decided_on, action)
            if self._clock() >= adopt_at:
                adopt_at = self._clock() + _ADOPT_SECONDS
                attempt("series_adoption_failed", self._look_around)

    def _look_around(self) -> None:
        """Take up series that others opened or left: a dead neighbor, an operator's release."""
        if self._neighbors is not None:
            self._neighbors.look_after()
        self.adopt()

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

    def _answer(self, key: Key, event: Surveyed | Counted) -> None:
        with self._changed:
            if key in self._open:
                self._apply(key, event)
                self._changed.notify_all()

    def _end(self, key: Key, decided_on: SeriesState, action: Close | Hold) -> None:
        """Close or hold a series, unless another receiver is at it."""
        try:
            self._flush()
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
            _log.exception("series_close_failed", error=type(error).__name__)
            with self._changed:
                self._open[key] = resume(self._clock())
            return
        is_done = False
        with self._lock:
            # Unless an instance came since: it has opened the series anew.
            if self._open[key].first_instance_at is None:
                del self._open[key]
                self._counts.pop(key, None)
                is_done = True
            self._first.pop(key, None)
        if is_done:
            self._forget(key)
        if isinstance(action, Hold):
            _log.warning("series_held", because=action.reason)
            return
        if revision is None:
            return  # what was pending had come in time for the revision before
        SERIES_CLOSED.labels(key[0], action.reason).inc()
        _log.info("series_closed", because=action.reason, job=job_id)

    def _is_busy_elsewhere(self, transaction: Transaction, key: Key, action: Close | Hold) -> bool:
        """Whether another receiver brings, or has brought, instances that are not known here."""
        traffic = read_traffic(transaction, *key, receiver=self._receiver)
        with self._lock:
            known = self._counts.get(key, traffic.instance_count)
            self._counts[key] = traffic.instance_count
        # The deadline ends every wait, also that for a receiver that died.
        is_over = isinstance(action, Hold) or action.reason == "deadline"
        return not is_over and (traffic.is_touched_elsewhere or traffic.instance_count > known)

    def _keep_open(self, key: Key, decided_on: SeriesState) -> None:
        """Take the decision back and wait for the quiet time from now."""
        now = self._clock()
        with self._changed:
            if self._open.get(key) is not decided_on:
                return
            first = self._first.get(key, now)
            self._open[key] = resume(first)
            self._apply(key, TouchedElsewhere(at=now))


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


def thin_out(news: Sequence[News]) -> list[News]:
    """Leave out instances of an association between the first and the last of a run.

    Those two say when the series began and since when it is quiet, and there are hundreds between.
    """
    kept: list[News] = []
    for each in news:
        if len(kept) > 1 and _go_on(kept[-2], kept[-1]) and _go_on(kept[-1], each):
            kept[-1] = each
        else:
            kept.append(each)
    return kept


def _go_on(former: News, latter: News) -> bool:
    """Whether two tell of instances of one series over one association."""
    return (
        isinstance(former.event, InstanceStored)
        and isinstance(latter.event, InstanceStored)
        and former.event.association_id == latter.event.association_id
        and former.key == latter.key
        and former.opens == latter.opens
    )
