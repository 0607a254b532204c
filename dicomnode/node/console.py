"""The console of a process: what its routers are built of, its audit repository, its server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from dicomnode.console.access import Access
from dicomnode.console.app import build_app
from dicomnode.console.audit import Audit
from dicomnode.console.caching import Cached
from dicomnode.console.draining import UntilDrain
from dicomnode.console.health import build_health_app
from dicomnode.console.pages import Pages
from dicomnode.console.parts import Parts
from dicomnode.console.patients import Patients
from dicomnode.console.probes import Probes
from dicomnode.console.server import ConsoleServer
from dicomnode.console.syslog import SyslogRepository
from dicomnode.errors import InferenceError
from dicomnode.inference.client import TritonClient
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.node.foundation import Foundation
from dicomnode.node.receiver import Receiver, build_limits, build_policies
from dicomnode.node.triton import open_client
from dicomnode.pipeline.intake import FileIntake, RowSink
from dicomnode.receive.notes import IgnoredInstances
from dicomnode.receive.sink import InstanceSink
from dicomnode.receive.store import StoreHandler

_ASKED_SECONDS: Final = 3.0
"""How long an answer of a component holds for pages and probes."""


def start_console(
    base: Foundation,
    *,
    probes: Probes,
    is_draining: Callable[[], bool],
    client: TritonClient | None,
    receiver: Receiver | None,
) -> ConsoleServer:
    """Serve the console; who calls this stops it.

    Parameters
    ----------
    base : Foundation
    probes : Probes
        What probes and scrapers ask of this process.
    is_draining : callable
        From then on they alone are answered.
    client : TritonClient, optional
        Of the worker in this process.
    receiver : Receiver, optional
        Of this process: what is uploaded is then known to it at once.

    Raises
    ------
    ConfigError
        If a file of passwords, tokens, certificates or keys cannot be used.
    StateError
        If the port cannot be had.
    """
    config = base.config.console
    repository = None if config.audit is None else SyslogRepository(config.audit)
    if repository is not None:
        repository.start()
        base.parts.callback(repository.stop)
    parts = _parts(base, probes, client, receiver, repository)
    parts.audit.started()
    base.parts.callback(parts.audit.stopped)
    app = UntilDrain(build_app(parts), build_health_app(probes), is_draining=is_draining)
    server = ConsoleServer(app, config, tls=config.tls)
    server.start()
    return server


def _parts(
    base: Foundation,
    probes: Probes,
    client: TritonClient | None,
    receiver: Receiver | None,
    repository: SyslogRepository | None,
) -> Parts:
    config, database = base.config, base.database
    store, quarantine = base.storage.store, base.storage.quarantine
    policies = build_policies(base)
    sink: InstanceSink = RowSink(
        database, {name: each.config for name, each in base.setups.items()}
    )
    flush: Callable[[], None] = _nothing
    if receiver is not None:
        sink, flush = receiver.registry, receiver.registry.flush
    handler = StoreHandler(
        store=store,
        quarantine=quarantine,
        sink=sink,
        policies=policies,
        limits=build_limits(base, store, flush),
        ignored=IgnoredInstances(database).note,
    )
    access = Access(config.console.access, database)
    return Parts(
        config=config,
        setups=base.setups,
        database=database,
        jobs=base.jobs,
        store=store,
        quarantine=quarantine,
        outbox=base.storage.outbox,
        intake=FileIntake(handler, sink, policies),
        flush=flush,
        probes=probes,
        models=Cached(_Models(base, client), seconds=_ASKED_SECONDS),
        access=access,
        audit=Audit(access.clients, repository),
        patients=Patients(database, store),
        pages=Pages(access),
    )


class _Models:
    """Asks for each model, as far as this process can."""

    def __init__(self, base: Foundation, client: TritonClient | None) -> None:
        self._manifests = [each for setup in base.setups.values() for each in setup.manifests]
        if client is None and base.config.inference.triton != "embedded":
            client = open_client(base.config, base.config.inference.triton, base.parts)
        self._client = client

    def __call__(self) -> dict[str, str | None]:
        """Return by name None for a model that is ready, else the reason; none where nobody asks.

        An embedded server is another process's own, and asked by that one alone.
        """
        client = self._client
        if client is None:
            return {}
        return {each.name: _fault(client, each) for each in self._manifests}


def _fault(client: TritonClient, manifest: Manifest) -> str | None:
    try:
        missing = client.missing((manifest.triton.model,))
        if missing:
            return missing
        client.check_contract(manifest)
    except InferenceError as error:
        return str(error)
    return None


def _nothing() -> None:
    """Nothing is deferred by what records at once."""
