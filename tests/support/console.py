"""A console over a real database and spool in a folder, asked without a socket."""

from __future__ import annotations

import asyncio
import re
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from argon2 import PasswordHasher

from dicomnode.config import Config
from dicomnode.console.access import Access
from dicomnode.console.app import build_app
from dicomnode.console.audit import Audit
from dicomnode.console.pages import Pages
from dicomnode.console.parts import Parts
from dicomnode.console.patients import Patients
from dicomnode.console.probes import Probes
from dicomnode.database import open_database
from dicomnode.database.connect import SQLITE_FILE
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.database.series_rows import close_series, record_instance
from dicomnode.engine import JobQueue
from dicomnode.model.instance import InstanceRef
from dicomnode.pipeline.intake import FileIntake, RowSink
from dicomnode.pipeline.setup import build_setups
from dicomnode.receive.acceptance import StorePolicy
from dicomnode.receive.notes import IgnoredInstances
from dicomnode.receive.store import StoreHandler
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox

JOB = "1.2.3:0123456789abcdef:chest-00000001"


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


class Browser(Client):
    """A client that keeps cookies and fills in forms."""

    def __init__(self, parts: Parts, **how: Any) -> None:
        super().__init__(build_app(parts), **how)
        self.cookies: dict[str, str] = {}

    def request(self, verb, path, *, headers=None, **parameters):
        headers = dict(headers or {})
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = super().request(verb, path, headers=headers, **parameters)
        for cookie in answer.cookies.jar:
            self.cookies[cookie.name] = cookie.value
        for said in answer.headers.get_list("set-cookie"):
            if "Max-Age=0" in said:
                self.cookies.pop(said.partition("=")[0], None)
        return answer

    def submit(self, path, page, *, headers=None, **fields):
        """Send a form of a page that was had before."""
        token = re.search(r'name="form_token" value="(\w+)"', page.text)[1]
        return self.post(path, data={"form_token": token, **fields}, headers=headers)

    def sign_in(self, name, password, *, wanted="/"):
        page = self.get("/sign-in")
        token = re.search(r'name="form_token" value="(\w+)"', page.text)
        fields = {"form_token": token[1] if token else "", "name": name, "password": password}
        return self.post("/sign-in", data={**fields, "next": wanted})


def make_config(folder: Path, **console: Any) -> Config:
    """Return a configuration with a pipeline ``chest`` and a folder as its destination."""
    return Config(
        data_dir=folder / "data",
        console=console,
        receive={"reserve_bytes": 0, "headroom_bytes": 0},
        pipelines={"chest": {"ae_title": "CHEST", "destinations": ["share"]}},
        destinations={"share": {"kind": "folder", "path": str(folder / "share")}},
    )


@cache
def _empty_database() -> bytes:
    """Migrate once: each further database of the process is a copy."""
    with tempfile.TemporaryDirectory() as folder:
        database = open_database("sqlite", data_dir=Path(folder))
        JobQueue(database).close()
        with database.engine.connect() as connection:
            connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
        database.close()
        return (Path(folder) / SQLITE_FILE).read_bytes()


def _copy_database(folder: Path) -> None:
    path = folder / SQLITE_FILE
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_empty_database())


def cheap_line(name: str, role: str, password: str) -> str:
    """Return a line of a password file whose hash takes no time to check."""
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    return f"{name}:{role}:{hasher.hash(password)}"


def make_parts(
    config: Config, stack: ExitStack, *, components=None, models=None, repository=None
) -> Parts:
    """Build the parts of a console alone; `stack` closes what must be closed."""
    _copy_database(config.data_dir)
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
        probes=Probes(readiness=lambda: {} if components is None else components),
        models=lambda: {} if models is None else models,
        access=access,
        audit=Audit(access.clients, repository),
        patients=Patients(database, store),
        pages=Pages(access),
    )


def make_client(parts: Parts, **how: Any) -> Client:
    """Return a client of the console of these parts."""
    return Client(build_app(parts), **how)


def record_series(database, series="1.2.3", *, calling_ae_title="CT1", at=None):
    with database.begin() as transaction:
        record_instance(
            transaction,
            "chest",
            InstanceRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                sop_instance_uid=f"{series}.1",
                study_instance_uid="1.2",
                series_instance_uid=series,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest="a" * 64,
                size_bytes=1,
                key=f"instances/chest/{series}/1.dcm",
            ),
            calling_ae_title=calling_ae_title,
            at=at or datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        )


def record_job(database, series="1.2.3", *, job_id=JOB, **values):
    record_series(database, series)
    with database.begin() as transaction:
        revision = close_series(transaction, "chest", series, because="quiet")
        create_job(transaction, job_id, revision)
        set_job(transaction, job_id, **values)
    return job_id


def store_files(parts: Parts, paths) -> None:
    """Store files in the pipeline, as an upload does."""
    batch = parts.intake.open("chest", host="127.0.0.1")
    for path in paths:
        with path.open("rb") as file:
            taken = batch.take(file)
        assert taken.outcome == "stored", taken.words
    batch.close(is_whole=True)
