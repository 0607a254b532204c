"""The node as a whole: which roles it has, what of it listens, whether it is ready."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from dicomnode.config import Config
from dicomnode.console.probes import Probes
from dicomnode.console.readiness import Readiness
from dicomnode.console.standing import build_standing
from dicomnode.database import Database
from dicomnode.errors import InferenceError, StateError
from dicomnode.metrics.page import Page, Shared
from dicomnode.node.foundation import Foundation, Loop, lay_foundation
from dicomnode.node.receiver import Receiver
from dicomnode.node.receivers import start_receivers
from dicomnode.pipeline.enqueue import ANALYZE_QUEUE, QUEUES
from dicomnode.pipeline.setup import PipelineSetup, build_setups
from dicomnode.spool.storage import Storage
from dicomnode.tls import check_files

if TYPE_CHECKING:  # a role loads what it needs: a receiver has no use for models and results
    from dicomnode.console.server import ConsoleServer
    from dicomnode.inference.client import TritonClient


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
        self._loops: dict[str, Loop] = {}
        self._counted: Shared | None = None
        self._is_stopping = False
        self._readiness = Readiness(self._components())
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
        base = lay_foundation(
            config,
            self._setups,
            self._parts,
            is_whole=self._roles == ALL_ROLES,
            loops=self._loops,
        )
        self._storage, self._database = base.storage, base.database
        # Probes and scrapers are answered to the end of a drain.
        self._parts.callback(self._stop_http)
        if "work" in self._roles:
            from dicomnode.node.worker import start_worker  # noqa: PLC0415 - a worker's alone

            self._client = start_worker(base, names=self._queues, on_lost=self._on_lost)
        if "receive" in self._roles:
            if config.receive.processes > 1:
                self._counted = Shared(config.data_dir / "metrics")
            self._receiver = start_receivers(base, counted=self._counted)
        if "console" in self._roles:
            from dicomnode.node.console import start_console  # noqa: PLC0415 - a console's alone

            asks = "work" in self._roles and ANALYZE_QUEUE in self._queues
            self._console = start_console(
                base,
                probes=self._probes(base),
                is_draining=lambda: self._is_stopping,
                client=self._client if asks else None,
                receiver=self._receiver,
            )
        if config.health is not None:
            from dicomnode.node.health import start_health  # noqa: PLC0415 - as above

            self._health = start_health(config.health, self._probes(base))

    def _probes(self, base: Foundation) -> Probes:
        standing = build_standing(
            self._config, base.database, base.storage.quarantine, readiness=self.readiness
        )
        return Probes(
            readiness=self.readiness,
            liveness=self.liveness,
            metrics=Page(standing, shared=self._counted).render,
        )

    def _stop_http(self) -> None:
        for server in (self._console, self._health):
            if server is not None:
                server.stop()

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
        """Ask every part, or repeat what was said a moment ago.

        Returns
        -------
        dict of str to (str or None)
            None for a part that is ready, else the reason in words.
        """
        if self._is_stopping:
            return dict.fromkeys(self._components(), "the node is draining")
        return self._readiness.ask()

    def liveness(self) -> dict[str, str | None]:
        """Say of each loop whether it comes round.

        Returns
        -------
        dict of str to (str or None)
            None for a loop that does, else what is wrong in words.  Empty while the node drains,
            as loops end then.
        """
        if self._is_stopping:
            return {}
        return {name: _judge(loop) for name, loop in self._loops.items()}

    def _components(self) -> dict[str, Callable[[], str | None]]:
        found: dict[str, Callable[[], str | None]] = {"database": self._ask_database}
        if self._config.storage is not None:
            found["storage"] = self._ask_storage
        if "receive" in self._roles:
            found["receive"] = lambda: None if self._receiver is not None else "not listening"
            found["spool"] = self._ask_spool
        if "work" in self._roles and ANALYZE_QUEUE in self._queues:
            found["inference"] = self._ask_models
        return found

    def _ask_spool(self) -> str | None:
        reserve = self._config.receive.reserve_bytes
        try:
            free = shutil.disk_usage(self._config.data_dir).free
        except OSError as error:
            return f"cannot be used: {error.strerror}"
        return None if free >= reserve else f"{free} bytes are free, the reserve is {reserve}"

    def _ask_storage(self) -> str | None:
        return "not open" if self._storage is None else self._storage.ping()

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
        self._is_stopping = True
        self._parts.close()


def _judge(loop: Loop) -> str | None:
    silent = loop.silent_seconds()
    if silent <= loop.limit_seconds:
        return None
    return "its thread has ended" if silent == float("inf") else f"hangs for {silent:.0f} s"
