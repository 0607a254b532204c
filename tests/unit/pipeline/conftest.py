"""A worker without engine and inference server: real stores, real stages, a fake client."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from datetime import UTC, datetime

import numpy as np
import pytest

from dicomnode.config import Config, DimseDestination
from dicomnode.database import open_database
from dicomnode.database.job_rows import get_job, list_deliveries
from dicomnode.database.series_rows import close_series, record_instance
from dicomnode.pipeline import workflows as workflows_module
from dicomnode.pipeline.enqueue import submit
from dicomnode.pipeline.setup import build_setups
from dicomnode.pipeline.workflows import Workflows
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_stored
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox
from tests.support.ct import make_series
from tests.support.pacs import FlakyPacs


class FakeTriton:
    """Answers as the shipped models would, in shape; `fault` is raised instead while it is set."""

    def __init__(self):
        self.fault = None
        self.asked = []

    def on_behalf_of(self, _asker):
        return self

    @contextmanager
    def keeping_inputs(self):
        yield self

    def check_contract(self, manifest):
        if self.fault is not None:
            raise self.fault
        return manifest

    def resolved(self, manifest):
        return manifest

    def server_identity(self):
        if self.fault is not None:
            raise self.fault
        return "fake 1.0"

    def infer(self, manifest, _inputs, outputs, **_named):
        if self.fault is not None:
            raise self.fault
        self.asked.append(manifest.name)
        return {name: self._answer(*spec) for name, spec in outputs.items()}

    @staticmethod
    def _answer(dtype, shape):
        if dtype is not np.uint8:
            return np.full(shape, 3.5, np.float32)
        labels = np.zeros(shape, np.uint8)
        half = shape[2] // 2
        labels[1:, 2:-3, 1 : half - 1] = 2
        labels[1:, 2:-2, half + 1 :] = 1
        return labels


class FakeJobs:
    """A job queue that runs what is in it when a test says so; an id is taken once."""

    def __init__(self):
        self.waiting = deque()
        self.ids = []
        self.delays = {}
        self.cancelled = []
        self.workflows = {}

    def enqueue_in(
        self,
        _transaction,
        _queue,
        workflow,
        workflow_id,
        *arguments,
        partition=None,
        delay_seconds=0.0,
    ):
        assert partition is None or partition.split("/")[0] in workflow_id
        if workflow_id not in self.ids:
            self.ids.append(workflow_id)
            self.delays[workflow_id] = delay_seconds
            self.waiting.append((workflow, workflow_id, arguments))

    def cancel(self, workflow_id):
        self.cancelled.append(workflow_id)
        self.waiting = deque(each for each in self.waiting if each[1] != workflow_id)

    def run_next(self):
        workflow, _, arguments = self.waiting.popleft()
        return self.workflows[workflow](*arguments)

    def run_all(self):
        while self.waiting:
            self.run_next()


class Bench:
    """All parts of a worker, and a way to hand it a series."""

    def __init__(self, folder):
        self.folder = folder
        self.results = folder / "results"
        self.config = Config(
            data_dir=folder / "data",
            pipelines={
                "chest": {"ae_title": "CHEST", "segment": ["lung"], "destinations": ["results"]}
            },
            destinations={
                "results": {"kind": "folder", "path": str(self.results), "max_attempts": 3}
            },
        )
        self.setups = build_setups(self.config)
        self.database = open_database("sqlite", data_dir=self.config.data_dir)
        self.store = InstanceStore(self.config.data_dir, reserve_bytes=0)
        self.outbox = Outbox(self.config.data_dir)
        self.client = FakeTriton()
        self.jobs = FakeJobs()
        self.build()

    def build(self, **changes):
        parts = {
            "database": self.database,
            "store": self.store,
            "outbox": self.outbox,
            "setups": self.setups,
            "client": self.client,
            "jobs": self.jobs,
            "quarantine": Quarantine(self.config.data_dir),
            "destinations": self.config.destinations,
        }
        self.jobs.workflows = Workflows(**(parts | changes)).by_name()

    def receive(self, paths):
        for path in paths:
            meta, identity, data_set = read_stored(path)
            ref = self.store.store(
                pipeline="chest",
                sop_class_uid=identity.sop_class_uid,
                sop_instance_uid=identity.sop_instance_uid,
                study_instance_uid=identity.study_instance_uid,
                series_instance_uid=identity.series_instance_uid,
                transfer_syntax_uid=meta.transfer_syntax_uid,
                calling_ae_title="CT1",
                data_set=bytes(data_set),
            )
            with self.database.begin() as transaction:
                record_instance(
                    transaction, "chest", ref, calling_ae_title="CT1", at=datetime.now(UTC)
                )
        return ref.series_instance_uid

    def close(self, series):
        """Close the series and submit its revision; return the job's id."""
        with self.database.begin() as transaction:
            revision = close_series(transaction, "chest", series, because="quiet")
            return submit(self.jobs, transaction, revision, self.setups["chest"].version)

    def submit_series(self, **attributes):
        return self.close(self.receive(self.make(**attributes)))

    def make(self, **attributes):
        return make_series(self.folder / "ct", **attributes)

    def job(self, job_id):
        with self.database.begin() as transaction:
            return get_job(transaction, job_id)

    def delivery(self, job_id):
        with self.database.begin() as transaction:
            [found] = list_deliveries(transaction, job_id)
        return found

    def deliveries(self, job_id):
        with self.database.begin() as transaction:
            return list_deliveries(transaction, job_id)

    def work_files(self):
        return list((self.config.data_dir / "work").rglob("*.*"))

    def arrived(self):
        return sorted(path.name for path in self.results.rglob("*.dcm"))


@pytest.fixture
def bench(tmp_path, monkeypatch):
    # What the engine does with a step, but for its record: it is in another test, with kill -9.
    monkeypatch.setattr(workflows_module, "run_step", lambda _name, function: function())
    made = Bench(tmp_path)
    yield made
    made.database.close()


class Pacs(FlakyPacs):
    """A PACS and the section of the configuration that leads to it."""

    @property
    def destination(self):
        return DimseDestination(
            kind="dimse", ae_title=self.ae_title, host="127.0.0.1", port=self.port
        )


@pytest.fixture
def pacs():
    with Pacs() as running:
        yield running
