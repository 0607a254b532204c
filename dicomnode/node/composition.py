"""The node as a whole: which roles it has, what of it listens, whether it is ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final, Literal

from dicomnode.config import Config
from dicomnode.console.health import build_health_app
from dicomnode.console.server import ConsoleServer
from dicomnode.database import Database, open_database
from dicomnode.engine import JobQueue
from dicomnode.errors import InferenceError, StateError
from dicomnode.inference.client import TritonClient
from dicomnode.node.console import start_console
from dicomnode.node.foundation import Foundation
from dicomnode.node.receiver import Receiver
from dicomnode.node.receivers import start_receivers
from dicomnode.node.worker import start_worker
from dicomnode.pipeline.enqueue import ANALYZE_QUEUE, QUEUES
from dicomnode.pipeline.setup import PipelineSetup, build_setups
from dicomnode.spool.storage import Storage, open_storage
from dicomnode.tls import check_files


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Something that listens: what it is, and where."""

    what: str
    where: str


Role = Literal["receive", "work", "console"]

ALL_ROLES: Final[frozenset[Role]] = frozenset(("receive", "work", "console"))


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
        self._storage: Storage | None = None
        self._database: Database | None = None
        self._client: TritonClient | None = None
        self._receiver: Receiver | None = None
        self._console: ConsoleServer | None = None
        self._health: ConsoleServer | None = None

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
        storage = open_storage(config)
        self._storage = storage
        database = open_database(config.database.url, data_dir=config.data_dir)
        self._database = database
        self._parts.callback(database.close)
        jobs = JobQueue(database)
        self._parts.callback(jobs.close)
        base = Foundation(
            config=config,
            setups=self._setups,
            database=database,
            storage=storage,
            jobs=jobs,
            parts=self._parts,
            is_whole=self._roles == ALL_ROLES,
        )
        if "work" in self._roles:
            self._client = start_worker(base, names=self._queues, on_lost=self._on_lost)
        if "receive" in self._roles:
            self._receiver = start_receivers(base)
        if "console" in self._roles:
            asks = "work" in self._roles and ANALYZE_QUEUE in self._queues
            self._console = start_console(
                base,
                readiness=self.readiness,
                client=self._client if asks else None,
                receiver=self._receiver,
            )
        if config.health is not None:
            server = ConsoleServer(build_health_app(readiness=self.readiness), config.health)
            server.start()
            self._health = server
            self._parts.callback(server.stop)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What listens where, once started."""
        found: list[Endpoint] = []
        host = self._config.receive.host
        if self._receiver is not None:
            for setup in self._setups.values():
                address = f"{setup.config.ae_title}@{host}:{self._receiver.scp.port}"
                found.append(Endpoint(f"DICOM storage, pipeline {setup.name}", address))
        for what, server in (("console", self._console), ("health", self._health)):
            if server is not None:
                found.append(Endpoint(what, server.url))
        if self._client is not None:
            found.append(Endpoint("Triton", self._client.address))
        return tuple(found)

    @property
    def receive_port(self) -> int:
        """The port that the receiver listens on, once started."""
        return 0 if self._receiver is None else self._receiver.scp.port

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
        if self._config.storage is not None:
            found["storage"] = "not open" if self._storage is None else self._storage.ping()
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
                return missing
            for setup in self._setups.values():
                for manifest in setup.manifests:
                    self._client.check_contract(manifest)
        except InferenceError as error:
            return str(error)
        return None

    def stop(self) -> None:
        """Stop in the reverse order: no new associations, open ones end, running work ends."""
        self._parts.close()
