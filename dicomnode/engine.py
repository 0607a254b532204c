"""Every call to the job engine (DBOS): workflows, steps, queues, lease and sweep.  No stage here.

The engine keeps each workflow's progress in the database: a finished step is never repeated, an
interrupted one is.  What it lacks is added here: a lease that tells the living from the dead, and a
sweep that hands a dead process's work to a living one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import dbos

from dicomnode.database import Database, Transaction
from dicomnode.errors import StateError
from dicomnode.leases import open_leases
from dicomnode.log import get_logger

APPLICATION: Final = "dicomnode"

WORKFLOW_VERSION: Final = "1"
"""Raised only when running workflows could not go on under new code."""

_POLL_SECONDS: Final = 0.2
_SWEEP_SECONDS: Final = 3.0
_MAX_RECOVERIES: Final = 5
"""A workflow that takes its process down this often is parked, so that others go on."""

_log = get_logger("engine")
_Result = TypeVar("_Result")


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


class JobQueue:
    """Puts workflows into queues.  For every process, also those that run none.

    Parameters
    ----------
    database : Database
        Holds our rows and the engine's.
    """

    def __init__(self, database: Database) -> None:
        self._client = dbos.DBOSClient(
            system_database_engine=database.engine,
            system_database_url=database.url,
            application_name=APPLICATION,
            serializer=dbos.DBOSPortableJSONSerializer(),
        )

    def enqueue_in(
        self,
        transaction: Transaction,
        queue: str,
        workflow: str,
        workflow_id: str,
        *arguments: Any,
        partition: str | None = None,
    ) -> None:
        """Enqueue within a transaction of ours: both are committed, or neither.

        An id that was used before changes nothing.
        """
        options = self._options(queue, workflow, workflow_id)
        if partition is not None:
            options["queue_partition_key"] = partition
        self._client.enqueue_in_transaction(transaction, options, *arguments)

    def enqueue(
        self,
        queue: str,
        workflow: str,
        workflow_id: str,
        *arguments: Any,
        partition: str | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        """Enqueue a workflow, durably delayed if wanted.

        An id that was used before changes nothing.
        """
        options = self._options(queue, workflow, workflow_id)
        if partition is not None:
            options["queue_partition_key"] = partition
        if delay_seconds > 0:
            options["delay_seconds"] = delay_seconds
        self._client.enqueue(options, *arguments)

    def cancel(self, workflow_id: str) -> None:
        """Stop a workflow at its next step; nothing happens if it has ended or never was."""
        self._client.cancel_workflow(workflow_id)

    def close(self) -> None:
        """Give the engine's connections back."""
        self._client.destroy()

    @staticmethod
    def _options(queue: str, workflow: str, workflow_id: str) -> dbos.EnqueueOptions:
        return {
            "queue_name": queue,
            "workflow_name": workflow,
            "workflow_id": workflow_id,
            "app_version": WORKFLOW_VERSION,
        }


class Engine:
    """Runs workflows in this process.  One a process: the engine beneath is process-wide.

    Parameters
    ----------
    database : Database
    slot : str
        Names this process among those on the database; a restart takes the same slot again and
        goes on with what it left.
    workflows : mapping of str to callable
        By name; arguments and results are JSON.
    queues : sequence of Queue
        What this process works on.
    """

    def __init__(
        self,
        database: Database,
        *,
        slot: str,
        workflows: Mapping[str, Callable[..., Any]],
        queues: tuple[Queue, ...],
    ) -> None:
        self._database = database
        self._slot = slot
        self._queues = queues
        self._workflows = workflows
        self._leases = open_leases(database)
        self._stopping = threading.Event()
        self._sweeper = threading.Thread(target=self._sweep, name="orphan-sweep", daemon=True)

    def start(self) -> None:
        """Take the lease, resume what this slot left, begin taking work.

        Raises
        ------
        StateError
            If another living process holds the slot.
        """
        # Two processes of one name would each resume what the other is doing.
        if not self._leases.acquire(self._slot):
            raise StateError(
                f"another process works as {self._slot!r} on this database; stop it first"
            )
        config: dbos.DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._database.url,
            "system_database_engine": self._database.engine,
            "executor_id": self._slot,
            "application_version": WORKFLOW_VERSION,
            "serializer": dbos.DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
        }
        dbos.DBOS(config=config)
        for name, function in self._workflows.items():
            dbos.DBOS.workflow(name=name, max_recovery_attempts=_MAX_RECOVERIES)(function)
        dbos.DBOS.listen_queues([queue.name for queue in self._queues])
        dbos.DBOS.launch()
        for queue in self._queues:
            dbos.DBOS.register_queue(
                queue.name,
                polling_interval_sec=_POLL_SECONDS,
                worker_concurrency=None if queue.is_partitioned else queue.concurrency,
                partition_concurrency=queue.concurrency if queue.is_partitioned else None,
            )
        self._sweeper.start()

    def stop(self, *, drain_seconds: float) -> None:
        """Take no more work, let running workflows end, then give the lease back.

        What has not ended after `drain_seconds` is resumed by the next start.
        """
        self._stopping.set()
        dbos.DBOS.destroy(
            destroy_registry=True, workflow_completion_timeout_sec=max(1, round(drain_seconds))
        )
        self._sweeper.join()
        self._leases.close()

    def _sweep(self) -> None:
        """Hand the work of dead processes to living ones, every few seconds."""
        while not self._stopping.wait(_SWEEP_SECONDS):
            try:
                self._sweep_once()
            except Exception as error:  # noqa: BLE001  (must outlive a database that is away)
                _log.warning("sweep_failed", error=type(error).__name__)

    def _sweep_once(self) -> None:
        pending = dbos.DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        owners = {each.executor_id for each in pending} - {self._slot, None, ""}
        for owner in sorted(str(each) for each in owners):
            if not self._leases.acquire(owner):
                continue  # alive
            try:
                resumed = dbos.DBOS._recover_pending_workflows([owner])  # noqa: SLF001  (the engine has no public call for it)
                _log.info("orphans_resumed", owner=owner, count=len(resumed))
            finally:
                self._leases.release(owner)


def run_step(name: str, function: Callable[[], _Result]) -> _Result:
    """Run one step of the current workflow, at least once; its result is kept and never redone.

    Parameters
    ----------
    name : str
        Of the step, as operators see it.
    function : callable
        Idempotent; returns JSON values: keys and small numbers, never arrays.
    """
    result: _Result = dbos.DBOS.run_step({"name": name}, function)
    return result
