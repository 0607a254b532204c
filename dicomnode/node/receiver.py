"""The receiver of a process: Storage SCP, series registry, storage commitment."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from dicomnode.config import Config
from dicomnode.database import Database, Transaction
from dicomnode.database.series_rows import list_keys
from dicomnode.database.standing_rows import stored_bytes
from dicomnode.engine import JobQueue
from dicomnode.errors import NodeError
from dicomnode.leases import claim_slot, open_leases
from dicomnode.log import get_logger
from dicomnode.model.commitment import CommitmentReport
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import SeriesRevision
from dicomnode.node.foundation import NODE_SLOT, Foundation, Loop
from dicomnode.pipeline.commitment_answers import take_report
from dicomnode.pipeline.enqueue import submit
from dicomnode.pipeline.inquiry import SeriesInquiry
from dicomnode.receive.acceptance import StorePolicy
from dicomnode.receive.commitment import Commitments
from dicomnode.receive.commitment_reports import ignore_report
from dicomnode.receive.limits import Limits
from dicomnode.receive.notes import IgnoredInstances
from dicomnode.receive.scp import StorageSCP
from dicomnode.receive.seats import Seats
from dicomnode.series.neighbors import Neighbors
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.storage import Storage

_ALONE_SECONDS: Final = 5.0
_SHARED_SECONDS: Final = 1.0
"""How long it holds what is stored for a pipeline: what other processes add is not seen before."""

_CLOSE_LIMIT_SECONDS: Final = 300.0
"""A round may wait for a database that is slow, series by series."""

_ACCEPT_LIMIT_SECONDS: Final = 60.0

_log = get_logger("node")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that runs.

    `take_over` records what dead neighbors acknowledged, and takes their series.
    """

    scp: StorageSCP
    registry: SeriesRegistry
    take_over: Callable[[], None]


def start_receiver(
    base: Foundation,
    *,
    listening: socket.socket | None = None,
    seats: Seats | None = None,
    restores: bool = True,
) -> Receiver:
    """Start receiving, and closing series that are complete.

    Parameters
    ----------
    base : Foundation
    listening : socket.socket, optional
        One that other receivers accept on as well; else one is bound as configured.
    seats : Seats, optional
        Where associations are counted, shared with those.
    restores : bool
        Whether rows that a crash left out are looked for; else somebody has done so.

    Raises
    ------
    StateError
        If the port cannot be had.
    """
    config, database, jobs = base.config, base.database, base.jobs
    store = base.storage.store

    def submit_revision(transaction: Transaction, revision: SeriesRevision) -> str | None:
        version = base.setups[revision.pipeline].version
        return submit(jobs, transaction, revision, version)

    def restore() -> None:
        with database.begin() as transaction:
            known = list_keys(transaction)
        restored = registry.restore(
            store.scan(is_known=known.__contains__), source_ae_title=store.source_ae_title
        )
        if restored:
            _log.info("instances_restored", count=restored)

    neighbors = _neighbors(base, restore)
    registry = SeriesRegistry(
        database,
        completion={name: each.config.completion for name, each in base.setups.items()},
        submit=submit_revision,
        duplicates={name: each.config.duplicates for name, each in base.setups.items()},
        inquiry=SeriesInquiry(store, base.setups),
        receiver=neighbors.receiver,
        neighbors=neighbors,
        set_aside=partial(_set_aside, base.storage),
        rows_first=base.storage.shared is not None,
    )
    if restores:
        restore()
    registry.start()
    base.loops["series-closer"] = Loop(registry.silent_seconds, _CLOSE_LIMIT_SECONDS)
    base.parts.callback(registry.stop)
    commitments = Commitments(database, store, config.receive.commitment, flush=registry.flush)
    commitments.start()
    base.parts.callback(commitments.stop)
    receiver = StorageSCP(
        config.receive,
        pipelines={each.config.ae_title: name for name, each in base.setups.items()},
        store=store,
        quarantine=base.storage.quarantine,
        sink=registry,
        on_commitment=partial(_take_report, database, jobs, config)
        if config.asks_for_commitment
        else ignore_report,
        commitment=commitments,
        policies=build_policies(base),
        limits=build_limits(base, store, registry.flush),
        ignored=IgnoredInstances(database).note,
        seats=seats,
        listening=listening,
    )
    receiver.start()
    base.loops["receive-accept"] = Loop(receiver.silent_seconds, _ACCEPT_LIMIT_SECONDS)
    base.parts.callback(receiver.stop, config.drain_seconds)
    return Receiver(receiver, registry, neighbors.look_after)


def _set_aside(storage: Storage, pipeline: str, ref: InstanceRef) -> None:
    """Put an instance into the quarantine that another one is kept in place of."""
    try:
        kept = storage.quarantine.take(
            storage.store.path(ref.key),
            reason="other content came before under its SOP Instance UID, and is kept",
            facts={
                "pipeline": pipeline,
                "sop_class_uid": ref.sop_class_uid,
                "sop_instance_uid": ref.sop_instance_uid,
                "transfer_syntax_uid": ref.transfer_syntax_uid,
            },
        )
        storage.store.discard(ref)  # what a bucket has of it
    except (OSError, NodeError) as error:
        _log.error("instance_not_set_aside", key=ref.key, error=type(error).__name__)
    else:
        _log.warning("instance_set_aside", key=ref.key, quarantine=kept)


def _neighbors(base: Foundation, restore: Callable[[], None]) -> Neighbors:
    """Take a receiver's lease, and be able to tell whether another's is held.

    A whole node's is the one of its engine.
    """
    leases = open_leases(base.database)
    base.parts.callback(leases.close)
    name = NODE_SLOT if base.is_whole else claim_slot(leases, base.database, "receiver")

    def is_alive(receiver: str) -> bool:
        if not leases.acquire(receiver):
            return True
        leases.release(receiver)
        return False

    return Neighbors(
        base.database, receiver=name, is_alive=is_alive, keep=leases.keep, recover=restore
    )


def build_limits(base: Foundation, store: InstanceStore, flush: Callable[[], None]) -> Limits:
    """Build the limits of what may be stored.

    Parameters
    ----------
    base : Foundation
    store : InstanceStore
    flush : callable
        Returns when what was stored is in the database.
    """

    def stored(pipeline: str) -> int:
        flush()
        with base.database.begin() as transaction:
            return stored_bytes(transaction, pipeline)

    quotas = {name: each.config.quota_bytes for name, each in base.setups.items()}
    return Limits(
        store,
        max_instance_bytes=base.config.receive.max_instance_bytes,
        headroom_bytes=base.config.receive.headroom_bytes,
        quotas={name: each for name, each in quotas.items() if each is not None},
        stored_bytes=stored,
        refresh_seconds=_ALONE_SECONDS if base.config.receive.processes == 1 else _SHARED_SECONDS,
    )


def build_policies(base: Foundation) -> dict[str, StorePolicy]:
    """Build what each pipeline stores."""
    return {name: StorePolicy.of(each.config) for name, each in base.setups.items()}


def _take_report(
    database: Database, jobs: JobQueue, config: Config, report: CommitmentReport
) -> None:
    take_report(database, jobs, config.destinations, report)
