"""What the routers of the console are built of: one value that names every part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicomnode.config import Config
from dicomnode.console.access import Access
from dicomnode.console.audit import Audit
from dicomnode.console.pages import Pages
from dicomnode.console.patients import Patients
from dicomnode.console.probes import Ask, Probes
from dicomnode.database import Database
from dicomnode.engine import JobQueue
from dicomnode.pipeline.intake import FileIntake
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What routers need of the node.

    Attributes
    ----------
    config : Config
    setups : mapping of str to PipelineSetup
        By pipeline.
    database : Database
    jobs : JobQueue
    store : InstanceStore
    quarantine : Quarantine
    outbox : Outbox
    intake : FileIntake
        Takes uploads.
    flush : callable
        Returns when what was taken is in the database.
    probes : Probes
        `readiness` may be called for every page: what it asks is asked every few seconds at most.
    models : callable
        As `readiness`, for models: by the name of a manifest None if it is ready, else the reason;
        no entry for what nobody here can ask.
    access : Access
        ``Depends(parts.access.viewer)`` and ``Depends(parts.access.operator)`` guard every route.
    audit : Audit
        Told of every action and every look at a patient.
    patients : Patients
        Reads whose images a series holds: for those alone whom `access` lets see it.
    pages : Pages
        Renders templates.
    """

    config: Config
    setups: Mapping[str, PipelineSetup]
    database: Database
    jobs: JobQueue
    store: InstanceStore
    quarantine: Quarantine
    outbox: Outbox
    intake: FileIntake
    flush: Callable[[], None]
    probes: Probes
    models: Ask
    access: Access
    audit: Audit
    patients: Patients
    pages: Pages
