"""The composition root: builds the parts from the configuration, starts, watches, drains, stops."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from dicomnode.config import Config
from dicomnode.console.app import build_app
from dicomnode.console.server import ConsoleServer
from dicomnode.database import Database, Transaction, open_database
from dicomnode.engine import Engine, JobQueue
from dicomnode.errors import InferenceError, StateError
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import SHIPPED_MODELS
from dicomnode.log import get_logger
from dicomnode.model.series import SeriesRevision
from dicomnode.pipeline.looking_after import park_broken
from dicomnode.pipeline.setup import PipelineSetup, build_setups
from dicomnode.pipeline.workflows import Workflows, queues, submit
from dicomnode.receive.scp import StorageSCP
from dicomnode.series.registry import SeriesRegistry
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox

_log = get_logger("node")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something that listens: what it is, and where."""

    what: str
    where: str


def open_triton(config: Config, stack: ExitStack) -> TritonClient:
    """Return a client of the configured server; the embedded one is started first.

    Parameters
    ----------
    config : Config
    stack : ExitStack
        Takes what must be stopped and closed.

    Raises
    ------
    InferenceUnavailable
        If the embedded server cannot run here or does not load its models.
    """
    address = config.inference.triton
    if address == "embedded":
        server = EmbeddedTriton(
            repositories=(SHIPPED_MODELS, *config.inference.model_repositories),
            run_dir=config.data_dir / "triton",
            startup_seconds=config.inference.startup_seconds,
        )
        stack.callback(server.stop)
        server.start()
        address = server.address
    client = TritonClient(address, timeout_seconds=config.inference.timeout_seconds)
    stack.callback(client.close)
    return client


class Node:
    """The whole node on this machine: receiver, workers, console and, if wanted, Triton.

    Parameters
    ----------
    config : Config
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._setups: Mapping[str, PipelineSetup] = {}
        self._parts = ExitStack()
        self._database: Database | None = None
        self._client: TritonClient | None = None
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
        config.data_dir.mkdir(parents=True, exist_ok=True)
        store = InstanceStore(config.data_dir, reserve_bytes=config.receive.reserve_bytes)
        outbox = Outbox(config.data_dir)
        database = open_database(config.database.url, data_dir=config.data_dir)
        self._database = database
        self._parts.callback(database.close)
        client = open_triton(config, self._parts)
        self._client = client
        jobs = JobQueue(database)
        self._parts.callback(jobs.close)
        workflows = Workflows(
            database=database,
            store=store,
            outbox=outbox,
            setups=self._setups,
            client=client,
            jobs=jobs,
            destinations=config.destinations,
            return_to={
                each.ae_title: each.return_to
                for each in config.receive.allowed_callers
                if each.return_to is not None
            },
        )
        engine = Engine(
            database,
            slot="node",
            workflows=workflows.by_name(),
            queues=queues(analyses=config.work_concurrency),
            on_sweep=partial(park_broken, database, jobs),
        )
        engine.start()
        self._parts.callback(engine.stop, drain_seconds=config.drain_seconds)

        def submit_revision(transaction: Transaction, revision: SeriesRevision) -> str | None:
            version = self._setups[revision.pipeline].version
            return submit(jobs, transaction, revision, version)

        registry = SeriesRegistry(
            database,
            completion={name: each.config.completion for name, each in self._setups.items()},
            submit=submit_revision,
        )
        restored = registry.restore(store.scan())
        if restored:
            _log.info("instances_restored", count=restored)
        registry.start()
        self._parts.callback(registry.stop)
        receiver = StorageSCP(
            config.receive,
            pipelines={each.config.ae_title: name for name, each in self._setups.items()},
            store=store,
            quarantine=Quarantine(config.data_dir),
            sink=registry,
        )
        receiver.start()
        self._receiver = receiver
        self._parts.callback(receiver.stop, config.drain_seconds)
        console = ConsoleServer(build_app(database, readiness=self.readiness), config.console)
        console.start()
        self._console = console
        self._parts.callback(console.stop)

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
            found.append(Endpoint("console", self._console.url))
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
        return {
            "receive": None if self._receiver is not None else "not listening",
            "database": self._ask_database(),
            "inference": self._ask_models(),
        }

    def _ask_database(self) -> str | None:
        if self._database is None:
            return "not open"
        return self._database.ping()

    def _ask_models(self) -> str | None:
        if self._client is None:
            return "not started"
        models = {model for each in self._setups.values() for model in each.triton_models}
        try:
            if not self._client.is_ready(models):
                return f"waiting for {', '.join(sorted(models))}"
            for setup in self._setups.values():
                for manifest in setup.manifests:
                    self._client.check_contract(manifest)
        except InferenceError as error:
            return str(error)
        return None

    def stop(self) -> None:
        """Stop in the reverse order: no new associations, open ones end, running work ends."""
        self._parts.close()
