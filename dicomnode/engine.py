"""Every call to the job engine (DBOS): workflows, steps, queues, lease and sweep.  No stage here.

The engine keeps each workflow's progress in the database: a finished step is never repeated, an
interrupted one is.  What it lacks is added here: a lease that tells the living from the dead, and a
sweep that hands a dead process's work to a living one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import dbos

from dicomnode.database import Database, Transaction, outlast
from dicomnode.errors import StateError
from dicomnode.leases import claim_slot, open_leases
from dicomnode.log import get_logger, show_tracebacks, withhold_tracebacks
from dicomnode.model.work import Queue, StepRecord

APPLICATION: Final = "dicomnode"

WORKFLOW_VERSION: Final = "1"
"""Raised only when running workflows could not go on under new code."""

_POLL_SECONDS: Final = 0.2
_LISTEN_SECONDS: Final = 0.1
"""Between two looks of the engine for messages, of which we send none; its end waits for one."""
_SWEEP_SECONDS: Final = 1.0
"""A lease tells at once that its holder is dead: how soon others look is most of what it takes to
resume its work."""
_IDLE_SECONDS: Final = 3.0
"""How long a workflow may be this process's and not run before it is put back into its queue."""
_LOST_SECONDS: Final = 30.0
"""A process that cannot take its own lease back for so long has been replaced, and ends."""
_DRAIN_POLL_SECONDS: Final = 0.1
_MAX_RECOVERIES: Final = 5
"""A workflow that takes its process down this often is parked, so that others go on."""

_log = get_logger("engine")
_Result = TypeVar("_Result")


_running: set[tuple[str, str]] = set()
"""Workflow id and name of every step that is running in this process."""

_BROKEN: Final = {
    "ERROR": "it ended with an internal error",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": "the process that ran it died each time",
    "CANCELLED": "it was cancelled",
}
"""States of the engine that a workflow does not leave by itself."""


class JobQueue:
    """Puts workflows into queues.  For every process, also those that run none.

    Parameters
    ----------
    database : Database
        Holds our rows and the engine's.
    """

    def __init__(self, database: Database) -> None:
        # Also a process that runs no workflows may be the first on a database.
        dbos.DBOS.migrate(database.url)
        self._client = dbos.DBOSClient(
            system_database_engine=database.engine,
            system_database_url=database.url,
            application_name=APPLICATION,
            serializer=dbos.DBOSPortableJSONSerializer(),
        )

    def register(self, queues: Sequence[Queue]) -> None:
        """Make queues known, before a process looks which there are."""
        for queue in queues:
            self._client.register_queue(
                queue.name,
                polling_interval_sec=_POLL_SECONDS,
                worker_concurrency=None if queue.is_partitioned else queue.concurrency,
                partition_concurrency=queue.concurrency if queue.is_partitioned else None,
            )

    def enqueue_in(
        self,
        transaction: Transaction,
        queue: str,
        workflow: str,
        workflow_id: str,
        *arguments: Any,
        partition: str | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        """Enqueue a workflow within a transaction of ours: both are committed, or neither.

        An id that was used before changes nothing.

        Parameters
        ----------
        transaction : Transaction
        queue, workflow : str
            Names.
        workflow_id : str
        *arguments : object
            JSON values.
        partition : str, optional
            Of a partitioned queue.
        delay_seconds : float
            Durable: it outlives this process.
        """
        options: dbos.EnqueueOptions = {
            "queue_name": queue,
            "workflow_name": workflow,
            "workflow_id": workflow_id,
            "app_version": WORKFLOW_VERSION,
        }
        if partition is not None:
            options["queue_partition_key"] = partition
        if delay_seconds > 0:
            options["delay_seconds"] = delay_seconds
        self._client.enqueue_in_transaction(transaction, options, *arguments)

    def cancel(self, workflow_id: str) -> None:
        """Stop a workflow at its next step; nothing happens if it has ended or never was."""
        self._client.cancel_workflow(workflow_id)

    def broken(self, workflow_ids: Sequence[str]) -> dict[str, str]:
        """Say which of the workflows will never go on by themselves, and why, in words."""
        if not workflow_ids:
            return {}
        found = self._client.list_workflows(
            workflow_ids=list(workflow_ids),
            status=list(_BROKEN),
            load_input=False,
            load_output=False,
        )
        return {each.workflow_id: _BROKEN[each.status] for each in found}

    def known(self, workflow_ids: Sequence[str]) -> frozenset[str]:
        """Return which of the workflows the engine has a record of."""
        if not workflow_ids:
            return frozenset()
        found = self._client.list_workflows(
            workflow_ids=list(workflow_ids), load_input=False, load_output=False
        )
        return frozenset(each.workflow_id for each in found)

    def steps(self, workflow_id: str) -> tuple[StepRecord, ...]:
        """Return the finished steps of a workflow, in order; none if it is unknown."""
        found = self._client.list_workflow_steps(workflow_id, load_output=False)
        return tuple(
            StepRecord(
                name=each["function_name"],
                began_at=_from_milliseconds(each["started_at_epoch_ms"]),
                ended_at=_from_milliseconds(each["completed_at_epoch_ms"]),
            )
            for each in found
        )

    def forget(self, prefixes: Sequence[str]) -> int:
        """Remove the records of all workflows whose id begins with one of `prefixes`.

        Returns
        -------
        int
            How many there were.
        """
        if not prefixes:
            return 0
        found = self._client.list_workflows(
            workflow_id_prefix=list(prefixes), load_input=False, load_output=False
        )
        ids = [each.workflow_id for each in found]
        if ids:
            self._client.delete_workflows(ids, delete_children=True)
        return len(ids)

    def close(self) -> None:
        """Give the engine's connections back."""
        self._client.destroy()


def _from_milliseconds(since_epoch: int | None) -> datetime | None:
    return None if since_epoch is None else datetime.fromtimestamp(since_epoch / 1000, UTC)


class Engine:
    """Runs workflows in this process.  One a process: the engine beneath is process-wide.

    Parameters
    ----------
    database : Database
    slot : str
        Names this process among those on the database; a restart takes the same slot again and
        goes on with what it left.
    shares : bool
        Whether many processes may be of this kind: `slot` then is the kind, and the process takes
        a name of its own.
    workflows : mapping of str to callable
        By name; arguments and results are JSON.
    queues : sequence of Queue
        What this process works on.
    on_lost : callable, optional
        Called once if this process was declared dead and replaced: it should end.
    sweep_seconds : float
        Between two looks for the work of dead processes.
    """

    def __init__(
        self,
        database: Database,
        *,
        slot: str,
        workflows: Mapping[str, Callable[..., Any]],
        queues: tuple[Queue, ...],
        shares: bool = False,
        on_lost: Callable[[], None] | None = None,
        sweep_seconds: float = _SWEEP_SECONDS,
    ) -> None:
        self._database = database
        self._slot = slot
        self._shares = shares
        self._on_lost = on_lost
        self._sweep_seconds = sweep_seconds
        self._queues = queues
        self._workflows = workflows
        self._leases = open_leases(database)
        self._dbos: Any = None
        self._idle_since: dict[str, float] = {}
        self._stopping = threading.Event()
        self._swept_at = time.monotonic()
        self._sweeper = threading.Thread(target=self._sweep, name="orphan-sweep", daemon=True)

    def start(self) -> None:
        """Take the lease, resume what this slot left, begin taking work.

        Raises
        ------
        StateError
            If another living process holds the slot.
        """
        # Two processes of one name would each resume what the other is doing.
        if self._shares:
            self._slot = claim_slot(self._leases, self._database, self._slot)
        elif not self._leases.acquire(self._slot):
            self._leases.close()
            raise StateError(
                f"another process works as {self._slot!r} on this database; stop it first"
            )
        show_tracebacks("dbos")
        config: dbos.DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._database.url,
            "system_database_engine": self._database.engine,
            "executor_id": self._slot,
            "application_version": WORKFLOW_VERSION,
            "serializer": dbos.DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "notification_listener_polling_interval_sec": _LISTEN_SECONDS,
        }
        self._dbos = dbos.DBOS(config=config)
        for name, function in self._workflows.items():
            dbos.DBOS.workflow(name=name, max_recovery_attempts=_MAX_RECOVERIES)(function)
        dbos.DBOS.listen_queues([queue.name for queue in self._queues])
        # The engine looks for queues at its launch, and a second later again.
        jobs = JobQueue(self._database)
        jobs.register(self._queues)
        jobs.close()
        dbos.DBOS.launch()
        self._sweeper.start()

    def stop(self, *, drain_seconds: float) -> None:
        """Take no more work, let running workflows end, then give the lease back.

        What has not ended after `drain_seconds` is resumed by the next start.
        """
        self._stopping.set()
        # A step that outlasts the drain finds the engine gone when it ends: that is meant so.
        withhold_tracebacks("dbos", "step_ended_after_drain")
        self._drain(drain_seconds)
        dbos.DBOS.destroy(destroy_registry=True, workflow_completion_timeout_sec=0)
        for workflow, step in sorted(_running):
            _log.warning("work_left_for_next_start", workflow=workflow, step=step)
        self._sweeper.join()
        self._leases.close()

    def _drain(self, seconds: float) -> None:
        """Take nothing more and wait until nothing runs.  The engine would look once a second."""
        deadline = time.monotonic() + seconds
        for event in self._dbos.background_thread_stop_events:
            event.set()
        # What is being taken out of a queue just now begins to run within the first wait.
        for thread in threading.enumerate():
            if thread.name.startswith("queue-worker-"):
                thread.join(max(0.0, min(1.0, deadline - time.monotonic())))
        pause = threading.Event()
        while not pause.wait(_DRAIN_POLL_SECONDS) and time.monotonic() < deadline:
            if not self._dbos._active_workflows_set.activeList():  # noqa: SLF001
                return

    def silent_seconds(self) -> float:
        """Return for how long the sweeping thread has not come round; infinite if it has ended."""
        return time.monotonic() - self._swept_at if self._sweeper.is_alive() else float("inf")

    @property
    def slot(self) -> str:
        """The name of this process, once started."""
        return self._slot

    def _sweep(self) -> None:
        """Hand the work of dead processes to living ones, again and again."""
        refused_at: float | None = None
        while not self._stopping.wait(self._sweep_seconds):
            self._swept_at = time.monotonic()
            try:
                # After a database's restart all have lost their leases, and none is dead for it.
                if self._leases.keep():
                    self._sweep_once()
                refused_at = None
            except StateError as error:
                if refused_at is None:
                    _log.warning("lease_lost", slot=self._slot, reason=str(error))
                    refused_at = self._swept_at
                elif self._swept_at >= refused_at + _LOST_SECONDS and self._on_lost is not None:
                    self._on_lost()
                    self._on_lost = None
            except Exception as error:  # noqa: BLE001  (must outlive a database that is away)
                _log.warning("sweep_failed", error=type(error).__name__)

    def _sweep_once(self) -> None:
        pending = dbos.DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        mine = {each.workflow_id for each in pending if each.executor_id == self._slot}
        self._put_back_idle(mine)
        owners = {each.executor_id for each in pending} - {self._slot, None, ""}
        for owner in sorted(str(each) for each in owners):
            if not self._leases.acquire(owner):
                continue  # alive
            try:
                resumed = dbos.DBOS._recover_pending_workflows([owner])  # noqa: SLF001  (the engine has no public call for it)
                _log.info("orphans_resumed", owner=owner, count=len(resumed))
            finally:
                self._leases.release(owner)

    def _put_back_idle(self, mine: set[str]) -> None:
        """Put back into its queue what this process took and does not run.

        So it is when the database gives work out, and goes away before it says so.  What runs
        after all is fenced: it ends at its next write.
        """
        # The engine has public calls for neither.
        running = self._dbos._active_workflows_set.activeList()  # noqa: SLF001
        put_back = self._dbos._sys_db.reenqueue_for_recovery  # noqa: SLF001
        now = time.monotonic()
        idle = mine.difference(running)
        self._idle_since = {each: self._idle_since.get(each, now) for each in idle}
        for workflow, since in self._idle_since.items():
            if now >= since + _IDLE_SECONDS and put_back(workflow, [self._slot], APPLICATION):
                _log.warning("work_put_back", workflow=workflow)


def run_step(name: str, function: Callable[[], _Result]) -> _Result:
    """Run one step of the current workflow, at least once; its result is kept and never redone.

    A step that finds the database away is repeated until it is back: its result could not be kept
    anyway, and an error would end the workflow for good.

    Parameters
    ----------
    name : str
        Of the step, as operators see it.
    function : callable
        Idempotent; returns JSON values: keys and small numbers, never arrays.
    """

    def note(error: BaseException) -> None:
        _log.warning("database_away", step=name, error=type(error).__name__)

    running = (str(dbos.DBOS.workflow_id), name)
    _running.add(running)
    try:
        result: _Result = dbos.DBOS.run_step(
            {"name": name}, lambda: outlast(function, on_away=note)
        )
    finally:
        _running.discard(running)
    return result
