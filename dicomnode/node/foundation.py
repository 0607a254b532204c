"""What the roles of a process share: configuration, pipelines, database, what is to be undone."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from dicomnode.config import Config
from dicomnode.database import Database
from dicomnode.engine import JobQueue
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.spool.storage import Storage

NODE_SLOT: Final = "node"
"""Of a whole node, of which there is one on a database."""


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
    """

    config: Config
    setups: Mapping[str, PipelineSetup]
    database: Database
    storage: Storage
    jobs: JobQueue
    parts: ExitStack
    is_whole: bool
