"""The composition root: builds the parts from the configuration, starts, watches, drains, stops."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, Literal

from fastapi import FastAPI

from dicomnode.config import (
    Config,
    ConsoleConfig,
    DimseDestination,
    InferenceConfig,
    PipelineConfig,
)
from dicomnode.console.app import build_app
from dicomnode.console.health import build_health_app
from dicomnode.console.server import ConsoleServer
from dicomnode.database import Database, Transaction, open_database
from dicomnode.database.series_rows import list_keys, stored_bytes
from dicomnode.engine import Engine, JobQueue
from dicomnode.errors import InferenceError, StateError
from dicomnode.inference.channel import Credentials
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import SHIPPED_MODELS
from dicomnode.inference.repository import with_instances
from dicomnode.leases import FileLeases, claim_slot, open_leases
from dicomnode.log import get_logger
from dicomnode.model.commitment import CommitmentReport
from dicomnode.model.series import SeriesRevision
from dicomnode.pipeline.commitment import take_report
from dicomnode.pipeline.enqueue import ANALYZE_QUEUE, QUEUES, queues
from dicomnode.pipeline.inquiry import SeriesInquiry
from dicomnode.pipeline.looking_after import park_broken
from dicomnode.pipeline.retention import Retention
from dicomnode.pipeline.setup import PipelineSetup, build_setups
from dicomnode.pipeline.workflows import Workflows, submit
from dicomnode.receive.acceptance import StorePolicy
from dicomnode.receive.commitment import Commitments
from dicomnode.receive.commitment_reports import ignore_report
from dicomnode.receive.limits import Limits
from dicomnode.receive.notes import IgnoredInstances
from dicomnode.receive.scp import StorageSCP
from dicomnode.series.neighbors import Neighbors
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox
from dicomnode.tls import check_files

_PRUNE_SECONDS: Final = 60.0
_SLOT: Final = "node"
"""Of a whole node, of which there is one on a database."""

_log = get_logger("node")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something that listens: what it is, and where."""

    what: str
    where: str


def open_triton(
    config: Config, stack: ExitStack, *, run_dir: Path | None = None
) -> tuple[TritonClient, EmbeddedTriton | None]:
    """Return a client of the configured server, and the embedded one, which is started first.

    Parameters
    ----------
    config : Config
    stack : ExitStack
        Takes what must be stopped and closed.
    run_dir : Path, optional
        Of the embedded server; ``triton`` in the data folder by default.

    Raises
    ------
    InferenceUnavailable
        If the embedded server cannot run here or does not load its models.
    """
    address = config.inference.triton
    server = None
    if address == "embedded":
        folder = config.data_dir / "triton" if run_dir is None else run_dir
        server = EmbeddedTriton(
            repositories=with_instances(
                (SHIPPED_MODELS, *config.inference.model_repositories),
                config.inference.model_instances,
                folder=folder / "models",
            ),
            run_dir=folder,
            startup_seconds=config.inference.startup_seconds,
            model_threads=config.inference.model_threads,
        )
        stack.callback(server.stop)
        server.start()
        address = server.address
    client = TritonClient(
        address,
        timeout_seconds=config.inference.timeout_seconds,
        credentials=_credentials(config.inference),
    )
    stack.callback(client.close)
    return client, server


Role = Literal["receive", "work", "console"]

ALL_ROLES: Final[frozenset[Role]] = frozenset(("receive", "work", "console"))


def _policy(config: PipelineConfig) -> StorePolicy:
    return StorePolicy(config.store_classes, refuse_others=config.other_classes == "refuse")


def _credentials(config: InferenceConfig) -> Credentials | None:
    if config.tls is None:
        return None
    return Credentials(
        tls=True,
        ca_file=config.tls.ca_file,
        cert_file=config.tls.cert_file,
        key_file=config.tls.key_file,
        token_file=config.token_file,
    )


class Node:
    """The node, or some of its roles: receiver, worker with Triton, console.

    Parameters
    ----------
    config : Config
    roles : frozenset of str
        All of them make a whole node on this machine, of which there is one on a database.  A
        process with some of them may have others like it on the same database and data folder.
    queues : tuple of str
        What a worker takes.
    on_lost : callable, optional
        Called if this process was declared dead and replaced: it should stop.
    """

    def __init__(
        self,
        config: Config,
        *,
        roles: frozenset[Role] = ALL_ROLES,
        queues: tuple[str, ...] = QUEUES,
        on_lost: Callable[[], None] | None = None,
    ) -> None:
        self._config = config
        self._roles = roles
        self._queues = queues
        self._on_lost = on_lost
        self._setups: Mapping[str, PipelineSetup] = {}
        self._parts = ExitStack()
        self._database: Database | None = None
        self._client: TritonClient | None = None
        self._triton: EmbeddedTriton | None = None
        self._receiver: StorageSCP | None = None
        self._console: ConsoleServer | None = None

    def start(self) -> None:
        """Start every part; what was left at the last stop goes on.

        Raises
        ------
        ConfigError, ManifestInvalid
            If the pipelines cannot be built.
        InferenceUnavailable
            If the embedded Triton cannot run.
        StateError
            If the database, a port or this node's slot cannot be had.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        config = self._config
        self._setups = build_setups(config)
        check_files(config)
        config.data_dir.mkdir(parents=True, exist_ok=True)
        database = open_database(config.database.url, data_dir=config.data_dir)
        self._database = database
        self._parts.callback(database.close)
        jobs = JobQueue(database)
        self._parts.callback(jobs.close)
        if "work" in self._roles:
            self._start_worker(database, jobs)
        if "receive" in self._roles:
            self._start_receiver(database, jobs)
        if "console" in self._roles:
            app = build_app(database, readiness=self.readiness)
            self._serve(app, config.console)
        elif config.health is not None:
            self._serve(build_health_app(readiness=self.readiness), config.health)

    def _start_worker(self, database: Database, jobs: JobQueue) -> None:
        config = self._config
        is_whole = self._roles == ALL_ROLES
        if ANALYZE_QUEUE in self._queues:
            run_dir = config.data_dir / "triton"
            if not is_whole and config.inference.triton == "embedded":
                run_dir = run_dir / self._claim("triton")
            client, self._triton = open_triton(config, self._parts, run_dir=run_dir)
            self._client = client
        else:
            # Never asked: what asks is not taken from its queue.
            client = TritonClient("127.0.0.1:1", timeout_seconds=config.inference.timeout_seconds)
            self._parts.callback(client.close)
        workflows = Workflows(
            database=database,
            store=InstanceStore(config.data_dir, reserve_bytes=config.receive.reserve_bytes),
            quarantine=Quarantine(config.data_dir),
            outbox=Outbox(config.data_dir),
            setups=self._setups,
            client=client,
            jobs=jobs,
            destinations=config.destinations,
            waits=(config.inference.first_retry_seconds, config.inference.longest_retry_seconds),
            return_to={
                each.ae_title: each.return_to
                for each in config.receive.allowed_callers
                if each.return_to is not None
            },
        )
        engine = Engine(
            database,
            slot=_SLOT if is_whole else "worker",
            shares=not is_whole,
            workflows=workflows.by_name(),
            queues=queues(analyses=config.work_concurrency, names=self._queues),
            on_sweep=self._housekeeping(database, jobs),
            on_lost=self._on_lost,
        )
        engine.start()
        self._parts.callback(engine.stop, drain_seconds=config.drain_seconds)

    def _housekeeping(self, database: Database, jobs: JobQueue) -> Callable[[], object]:
        """Return what a worker looks after every few seconds."""
        config = self._config
        retention = Retention(
            database,
            InstanceStore(config.data_dir, reserve_bytes=config.receive.reserve_bytes),
            Outbox(config.data_dir),
            jobs,
            {
                name: each.config.retention or config.retention
                for name, each in self._setups.items()
            },
            data_dir=config.data_dir,
        )
        pruned_at = float("-inf")

        def look_after() -> None:
            nonlocal pruned_at
            park_broken(database, jobs)
            if time.monotonic() > pruned_at + _PRUNE_SECONDS:
                pruned_at = time.monotonic()
                retention.prune()

        return look_after

    def _start_receiver(self, database: Database, jobs: JobQueue) -> None:
        config = self._config
        store = InstanceStore(config.data_dir, reserve_bytes=config.receive.reserve_bytes)

        def submit_revision(transaction: Transaction, revision: SeriesRevision) -> str | None:
            version = self._setups[revision.pipeline].version
            return submit(jobs, transaction, revision, version)

        def restore() -> None:
            with database.begin() as transaction:
                known = list_keys(transaction)
            restored = registry.restore(
                store.scan(is_known=known.__contains__), source_ae_title=store.source_ae_title
            )
            if restored:
                _log.info("instances_restored", count=restored)

        neighbors = self._neighbors(database, restore)
        registry = SeriesRegistry(
            database,
            completion={name: each.config.completion for name, each in self._setups.items()},
            submit=submit_revision,
            duplicates={name: each.config.duplicates for name, each in self._setups.items()},
            inquiry=SeriesInquiry(store, self._setups),
            receiver=neighbors.receiver,
            neighbors=neighbors,
        )
        restore()
        registry.start()
        self._parts.callback(registry.stop)
        commitments = Commitments(database, store, config.receive.commitment, flush=registry.flush)
        commitments.start()
        self._parts.callback(commitments.stop)
        receiver = StorageSCP(
            config.receive,
            pipelines={each.config.ae_title: name for name, each in self._setups.items()},
            store=store,
            quarantine=Quarantine(config.data_dir),
            sink=registry,
            on_commitment=partial(_take_report, database, jobs, config)
            if _asks_for_commitment(config)
            else ignore_report,
            commitment=commitments,
            policies={name: _policy(each.config) for name, each in self._setups.items()},
            limits=self._limits(store, database, registry),
            ignored=IgnoredInstances(database).note,
        )
        receiver.start()
        self._receiver = receiver
        self._parts.callback(receiver.stop, config.drain_seconds)

    def _neighbors(self, database: Database, restore: Callable[[], None]) -> Neighbors:
        """Take a receiver's lease, and be able to tell whether another's is held.

        A whole node's is the one of its engine.
        """
        leases = open_leases(database)
        self._parts.callback(leases.close)
        name = _SLOT if self._roles == ALL_ROLES else claim_slot(leases, database, "receiver")

        def is_alive(receiver: str) -> bool:
            if not leases.acquire(receiver):
                return True
            leases.release(receiver)
            return False

        return Neighbors(
            database, receiver=name, is_alive=is_alive, keep=leases.keep, recover=restore
        )

    def _claim(self, kind: str) -> str:
        """Take the first free name of a kind on this data folder, until the process ends."""
        leases = FileLeases(self._config.data_dir / "leases")
        self._parts.callback(leases.close)
        return next(name for name in (f"{kind}-{n}" for n in count()) if leases.acquire(name))

    def _serve(self, app: FastAPI, config: ConsoleConfig) -> None:
        console = ConsoleServer(app, config)
        console.start()
        self._console = console
        self._parts.callback(console.stop)

    def _limits(self, store: InstanceStore, database: Database, registry: SeriesRegistry) -> Limits:
        def stored(pipeline: str) -> int:
            registry.flush()
            with database.begin() as transaction:
                return stored_bytes(transaction, pipeline)

        quotas = {name: each.config.quota_bytes for name, each in self._setups.items()}
        return Limits(
            store,
            max_instance_bytes=self._config.receive.max_instance_bytes,
            headroom_bytes=self._config.receive.headroom_bytes,
            quotas={name: each for name, each in quotas.items() if each is not None},
            stored_bytes=stored,
        )

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What listens where, once started."""
        found: list[Endpoint] = []
        host = self._config.receive.host
        if self._receiver is not None:
            for setup in self._setups.values():
                address = f"{setup.config.ae_title}@{host}:{self._receiver.port}"
                found.append(Endpoint(f"DICOM storage, pipeline {setup.name}", address))
        if self._console is not None:
            what = "console" if "console" in self._roles else "health"
            found.append(Endpoint(what, self._console.url))
        if self._client is not None:
            found.append(Endpoint("Triton", self._client.address))
        return tuple(found)

    @property
    def receive_port(self) -> int:
        """The port that the receiver listens on, once started."""
        return 0 if self._receiver is None else self._receiver.port

    @property
    def database(self) -> Database:
        """The open database.

        Raises
        ------
        StateError
            If the node has not been started.
        """
        if self._database is None:
            raise StateError("the node has not been started")
        return self._database

    def readiness(self) -> dict[str, str | None]:
        """Ask every part.

        Returns
        -------
        dict of str to (str or None)
            None for a part that is ready, else the reason in words.
        """
        found = {"database": self._ask_database()}
        if "receive" in self._roles:
            found["receive"] = None if self._receiver is not None else "not listening"
        if "work" in self._roles and ANALYZE_QUEUE in self._queues:
            found["inference"] = self._ask_models()
        return found

    def _ask_database(self) -> str | None:
        if self._database is None:
            return "not open"
        return self._database.ping()

    def _ask_models(self) -> str | None:
        if self._client is None:
            return "not started"
        models = {model for each in self._setups.values() for model in each.triton_models}
        try:
            missing = self._client.missing(models)
            if missing:
                trouble = None if self._triton is None else self._triton.trouble
                return trouble or missing
            for setup in self._setups.values():
                for manifest in setup.manifests:
                    self._client.check_contract(manifest)
        except InferenceError as error:
            return str(error)
        return None

    def stop(self) -> None:
        """Stop in the reverse order: no new associations, open ones end, running work ends."""
        self._parts.close()


def _asks_for_commitment(config: Config) -> bool:
    return any(
        isinstance(each, DimseDestination) and each.storage_commitment
        for each in config.destinations.values()
    )


def _take_report(
    database: Database, jobs: JobQueue, config: Config, report: CommitmentReport
) -> None:
    take_report(database, jobs, config.destinations, report)
