"""What the roles of a process share: configuration, pipelines, database, what is to be undone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from dicomnode.config import Config
from dicomnode.database import Database, open_database
from dicomnode.engine import JobQueue
from dicomnode.node.telemetry import start_telemetry
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.spool.storage import Storage, open_storage

NODE_SLOT: Final = "node"
"""Of a whole node, of which there is one on a database."""


@dataclass(frozen=True, slots=True)
class Loop:
    """A thread that must come round.

    Attributes
    ----------
    silent_seconds : callable
        For how long it has not; infinite if it has ended.
    limit_seconds : float
        Beyond it hangs: well above what the slowest of its rounds takes.
    """

    silent_seconds: Callable[[], float]
    limit_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundation:
    """What the roles share.

    Attributes
    ----------
    config : Config
    setups : mapping of str to PipelineSetup
        By pipeline name.
    database : Database
    storage : Storage
        Received instances, results, quarantine.
    jobs : JobQueue
    parts : contextlib.ExitStack
        Takes what must be stopped and closed, in the order of starting.
    is_whole : bool
        Whether this process is all of the node, alone on its database.
    loops : dict of str to Loop
        Takes what liveness is told by.
    """

    config: Config
    setups: Mapping[str, PipelineSetup]
    database: Database
    storage: Storage
    jobs: JobQueue
    parts: ExitStack
    is_whole: bool
    loops: dict[str, Loop] = field(default_factory=dict)


def lay_foundation(
    config: Config,
    setups: Mapping[str, PipelineSetup],
    parts: ExitStack,
    *,
    is_whole: bool,
    loops: dict[str, Loop],
) -> Foundation:
    """Open what the roles share; `parts` closes it.

    Parameters
    ----------
    config, setups, parts, is_whole, loops
        As `Foundation` holds them.

    Raises
    ------
    StateError
        If the database cannot be opened.
    """
    start_telemetry(config, setups, parts)
    storage = open_storage(config)
    database = open_database(config.database.url, data_dir=config.data_dir)
    parts.callback(database.close)
    jobs = JobQueue(database)
    parts.callback(jobs.close)
    return Foundation(
        config=config,
        setups=setups,
        database=database,
        storage=storage,
        jobs=jobs,
        parts=parts,
        is_whole=is_whole,
        loops=loops,
    )
