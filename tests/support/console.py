"""A console over a real database and spool in a folder, asked without a socket."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from dicomnode.config import Config
from dicomnode.console.access import Access
from dicomnode.console.app import build_app
from dicomnode.console.audit import Audit
from dicomnode.console.pages import Pages
from dicomnode.console.parts import Parts
from dicomnode.console.patients import Patients
from dicomnode.database import open_database
from dicomnode.engine import JobQueue
from dicomnode.pipeline.intake import FileIntake, RowSink
from dicomnode.pipeline.setup import build_setups
from dicomnode.receive.acceptance import StorePolicy
from dicomnode.receive.notes import IgnoredInstances
from dicomnode.receive.store import StoreHandler
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox


class Client:
    """Asks an application directly, from an address of choice."""

    def __init__(self, app, *, address="127.0.0.1", base="http://127.0.0.1"):
        self._transport = httpx.ASGITransport(app, client=(address, 40000))
        self._base = base

    def request(self, verb, path, **parameters):
        async def ask():
            async with httpx.AsyncClient(transport=self._transport, base_url=self._base) as client:
                return await client.request(verb, path, **parameters)

        return asyncio.run(ask())

    def get(self, path, **parameters):
        return self.request("GET", path, **parameters)

    def post(self, path, **parameters):
        return self.request("POST", path, **parameters)


def make_config(folder: Path, **console: Any) -> Config:
    """Return a configuration with a pipeline ``chest`` and a folder as its destination."""
    return Config(
        data_dir=folder / "data",
        console=console,
        receive={"reserve_bytes": 0, "headroom_bytes": 0},
        pipelines={"chest": {"ae_title": "CHEST", "destinations": ["share"]}},
        destinations={"share": {"kind": "folder", "path": str(folder / "share")}},
    )


def make_parts(
    config: Config, stack: ExitStack, *, components=None, models=None, repository=None
) -> Parts:
    """Build the parts of a console alone; `stack` closes what must be closed."""
    database = open_database(config.database.url, data_dir=config.data_dir)
    stack.callback(database.close)
    jobs = JobQueue(database)
    stack.callback(jobs.close)
    setups = build_setups(config)
    store = InstanceStore(config.data_dir, reserve_bytes=config.receive.reserve_bytes)
    quarantine = Quarantine(config.data_dir)
    sink = RowSink(database, {name: each.config for name, each in setups.items()})
    policies = {
        name: StorePolicy(
            each.config.store_classes, refuse_others=each.config.other_classes == "refuse"
        )
        for name, each in setups.items()
    }
    handler = StoreHandler(
        store=store,
        quarantine=quarantine,
        sink=sink,
        policies=policies,
        ignored=IgnoredInstances(database).note,
    )
    access = Access(config.console.access, database)
    return Parts(
        config=config,
        setups=setups,
        database=database,
        jobs=jobs,
        store=store,
        quarantine=quarantine,
        outbox=Outbox(config.data_dir),
        intake=FileIntake(handler, sink, policies),
        flush=lambda: None,
        readiness=lambda: {} if components is None else components,
        models=lambda: {} if models is None else models,
        access=access,
        audit=Audit(access.clients, repository),
        patients=Patients(database, store),
        pages=Pages(access),
    )


def make_client(parts: Parts, **how: Any) -> Client:
    """Return a client of the console of these parts."""
    return Client(build_app(parts), **how)
