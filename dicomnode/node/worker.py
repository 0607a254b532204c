"""The worker of a process: its Triton, its workflows, and what it looks after."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Final

from dicomnode.engine import Engine
from dicomnode.inference.client import TritonClient
from dicomnode.leases import FileLeases
from dicomnode.node.foundation import NODE_SLOT, Foundation, Loop
from dicomnode.node.housekeeping import Chore, Housekeeper
from dicomnode.node.triton import open_triton
from dicomnode.pipeline.enqueue import ANALYZE_QUEUE, queues
from dicomnode.pipeline.looking_after import park_broken
from dicomnode.pipeline.retention import Retention
from dicomnode.pipeline.workflows import Workflows

_PARK_SECONDS: Final = 3.0
_PRUNE_SECONDS: Final = 60.0
_SWEEP_LIMIT_SECONDS: Final = 120.0
"""A database that is cut off is waited for, statement by statement."""
_KEEPING_LIMIT_SECONDS: Final = 900.0
"""A round may remove a disk's worth of files."""
_KEEPING_STOP_SECONDS: Final = 5.0


def start_worker(
    base: Foundation, *, names: tuple[str, ...], on_lost: Callable[[], None] | None
) -> TritonClient | None:
    """Start working on queues.

    Parameters
    ----------
    base : Foundation
    names : tuple of str
        Of the queues.
    on_lost : callable or None
        Called if this process was declared dead and replaced.

    Returns
    -------
    TritonClient or None
        None if these queues ask no models.

    Raises
    ------
    InferenceUnavailable
        If the embedded Triton cannot run.
    StateError
        If another process holds this node's slot.
    """
    config = base.config
    asks_models = ANALYZE_QUEUE in names
    if asks_models:
        run_dir = config.data_dir / "triton"
        if not base.is_whole and config.inference.triton == "embedded":
            run_dir = run_dir / _claim(base, "triton")
        client = open_triton(config, base.parts, run_dir=run_dir, database=base.database)
    else:
        # Never asked: what asks is not taken from its queue.
        client = TritonClient("127.0.0.1:1", timeout_seconds=config.inference.timeout_seconds)
        base.parts.callback(client.close)
    workflows = Workflows(
        database=base.database,
        store=base.storage.store,
        quarantine=base.storage.quarantine,
        outbox=base.storage.outbox,
        setups=base.setups,
        client=client,
        jobs=base.jobs,
        destinations=config.destinations,
        waits=(config.inference.first_retry_seconds, config.inference.longest_retry_seconds),
        return_to={
            each.ae_title: each.return_to
            for each in config.receive.allowed_callers
            if each.return_to is not None
        },
    )
    engine = Engine(
        base.database,
        slot=NODE_SLOT if base.is_whole else "worker",
        shares=not base.is_whole,
        workflows=workflows.by_name(),
        queues=queues(analyses=config.work_concurrency, names=names),
        on_lost=on_lost,
    )
    engine.start()
    base.loops["orphan-sweep"] = Loop(engine.silent_seconds, _SWEEP_LIMIT_SECONDS)
    keeper = _housekeeper(base)
    keeper.start()
    base.loops["housekeeping"] = Loop(keeper.silent_seconds, _KEEPING_LIMIT_SECONDS)
    base.parts.callback(engine.stop, drain_seconds=config.drain_seconds)
    base.parts.callback(keeper.stop, wait_seconds=_KEEPING_STOP_SECONDS)
    return client if asks_models else None


def _housekeeper(base: Foundation) -> Housekeeper:
    """Return who looks after what a worker leaves behind."""
    config = base.config
    retention = Retention(
        base.database,
        base.storage.store,
        base.storage.outbox,
        base.jobs,
        {name: each.config.retention or config.retention for name, each in base.setups.items()},
        data_dir=config.data_dir,
    )
    return Housekeeper(
        Chore(
            name="park_broken",
            every_seconds=_PARK_SECONDS,
            do=lambda: park_broken(base.database, base.jobs),
        ),
        Chore(name="prune", every_seconds=_PRUNE_SECONDS, do=retention.prune),
    )


def _claim(base: Foundation, kind: str) -> str:
    """Take the first free name of a kind on this data folder, until the process ends."""
    leases = FileLeases(base.config.data_dir / "leases")
    base.parts.callback(leases.close)
    return next(name for name in (f"{kind}-{n}" for n in count()) if leases.acquire(name))
