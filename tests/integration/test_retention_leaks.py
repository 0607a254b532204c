"""Thousands of series through rows, files and the engine's tables: retention leaves nothing."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicomnode.config import RetentionConfig
from dicomnode.database import Database, Transaction, open_database
from dicomnode.database.connect import SQLITE_FILE
from dicomnode.database.delivery_rows import (
    answer_commitment,
    open_commitment,
    open_delivery,
    record_attempt,
    record_sent,
    settle_delivery,
)
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.database.series_rows import close_series, record_instance
from dicomnode.database.tables import delivery, job, series
from dicomnode.engine import Engine, JobQueue, run_step
from dicomnode.model.instance import InstanceRef
from dicomnode.pipeline.enqueue import (
    ANALYZE_QUEUE,
    enqueue_analysis,
    enqueue_commitment_check,
    enqueue_delivery,
    queues,
)
from dicomnode.pipeline.retention import Retention
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.results import Outbox
from tests.support.workers import wait_until

LONG_AGO = datetime.now(UTC) - timedelta(days=800)
OUR_OWN = {"dicomnode_version", "dbos_migrations", "application_versions", "queues"}
"""Tables that say what the database is; what a series brings is in all others."""

RUN_OF = 10
"""One in so many has its workflows run by the engine; those of the others are taken as ended."""

MOST_BYTES = 24 * 1024**2


class Flood:
    """A spool and its database, through which series go by the hundred."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.database: Database = open_database(url, data_dir=folder)
        self.store = InstanceStore(folder, reserve_bytes=0)
        self.outbox = Outbox(folder)
        self.jobs = JobQueue(self.database)
        self.engine = Engine(
            self.database,
            slot="node",
            workflows={"analyze": _analyze, "deliver": _deliver, "check_commitment": _check},
            queues=queues(analyses=8, names=(ANALYZE_QUEUE,)),
        )
        self.engine.start()
        self.retention = Retention(
            self.database,
            self.store,
            self.outbox,
            self.jobs,
            {"plain": RetentionConfig()},
            data_dir=folder,
            used_share=lambda _folder: 0.1,
        )

    def close(self) -> None:
        self.engine.stop(drain_seconds=10)
        self.jobs.close()
        self.database.close()

    def wave(self, first: int, count: int) -> None:
        """Have so many series come, be analyzed and delivered long ago, and be pruned."""
        run: list[str] = []
        for number in range(first, first + count):
            with_engine = number % RUN_OF == 0
            with self.database.begin() as transaction:
                job_id = self._add(transaction, number, with_engine=with_engine)
            if with_engine:
                run.append(job_id)
        wait_until(
            lambda: all(len(self.jobs.steps(each)) == 2 for each in run), 60, "the engine had run"
        )
        self._age()
        first_round, second_round = self.retention.prune(), self.retention.prune()
        assert first_round.series == first_round.results == count
        assert first_round.records + second_round.records == count

    def _add(self, transaction: Transaction, number: int, *, with_engine: bool) -> str:
        uid = f"1.2.{number}"
        key = f"instances/plain/{uid}/{uid}.1.{'ab' * 8}.dcm"
        path = self.store.path(key)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"instance")
        ref = InstanceRef(
            key=key,
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=f"{uid}.1",
            study_instance_uid="1.2",
            series_instance_uid=uid,
            transfer_syntax_uid="1.2.840.10008.1.2.1",
            digest="ab" * 32,
            size_bytes=8,
        )
        record_instance(transaction, "plain", ref, calling_ae_title="CT", at=LONG_AGO)
        revision = close_series(transaction, "plain", uid, because="quiet")
        assert revision is not None
        job_id = revision.job_id("plain-1")
        create_job(transaction, job_id, revision)
        files = {"sr.dcm": self.outbox.path(f"outbox/{job_id.replace(':', '@')}/sr.dcm")}
        files["sr.dcm"].parent.mkdir()
        files["sr.dcm"].write_bytes(b"report")
        (self.outbox.work_dir(job_id) / "volume.npy").write_bytes(b"volume")
        set_job(transaction, job_id, state="done", files={"sr.dcm": f"outbox/{number}/sr.dcm"})
        open_delivery(transaction, job_id, "pacs")
        objects = [{"sop_instance_uid": f"{uid}.9"}]
        record_attempt(
            transaction, job_id, "pacs", 1, outcome="commit", words=None, objects=objects, seconds=1
        )
        record_sent(transaction, "pacs", f"{uid}.9", status=0)
        open_commitment(
            transaction,
            f"{uid}.8",
            job_id=job_id,
            destination="pacs",
            attempt=1,
            sop_instance_uids=[f"{uid}.9"],
        )
        answer_commitment(transaction, f"{uid}.8", state="committed", missing={})
        settle_delivery(transaction, job_id, "pacs", state="committed", attempt=1, words=None)
        enqueue_delivery(self.jobs, transaction, job_id, "pacs", 1, config=None)
        enqueue_commitment_check(self.jobs, transaction, f"{uid}.8", delay_seconds=3600)
        if with_engine:
            enqueue_analysis(self.jobs, transaction, job_id, 1)
        return job_id

    def _age(self) -> None:
        with self.database.begin() as transaction:
            for table, column in (
                (job, "updated_at"),
                (delivery, "updated_at"),
                (series, "last_received_at"),
            ):
                transaction.execute(sa.update(table).values({column: LONG_AGO}))

    def rows(self) -> dict[str, int]:
        """Count the rows of every table in the database, ours and the engine's."""
        found = {}
        with self.database.begin() as transaction:
            look = sa.inspect(transaction)
            for schema in look.get_schema_names():
                if schema in {"information_schema", "pg_catalog"}:
                    continue
                for name in look.get_table_names(schema=schema):
                    count = sa.select(sa.func.count()).select_from(sa.table(name, schema=schema))
                    found[name] = int(transaction.execute(count).scalar_one())
        return found

    def files(self) -> list[str]:
        """Return every file and folder of series and jobs."""
        return [
            str(each.relative_to(self.folder))
            for kind in ("instances/plain", "outbox", "work", "quarantine")
            for each in (self.folder / kind).rglob("*")
        ]

    def bytes_of_database(self) -> int:
        path = self.folder / "dicomnode.sqlite"
        return path.stat().st_size if path.exists() else 0


def _analyze(job_id: str, attempt: int) -> str:
    run_step("assemble", lambda: job_id)
    run_step("infer", lambda: attempt)
    return "done"


def _deliver(job_id: str, destination: str, attempt: int) -> str:
    return f"{job_id} {destination} {attempt}"


def _check(transaction_uid: str) -> str:
    return transaction_uid


@pytest.fixture
def flood(tmp_path: Path, database_url: str) -> Iterator[Flood]:
    made = Flood(tmp_path, database_url)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("waves", "count"), [(3, 50), pytest.param(8, 300, marks=pytest.mark.slow)]
)
def test_thousands_of_series_leave_nothing_behind(flood: Flood, waves: int, count: int):
    held: list[tuple[int, int, int, int]] = []
    for number in range(waves):
        flood.wave(1 + number * count, count)
        held.append(_held(flood))

    left = {name: rows for name, rows in flood.rows().items() if name not in OUR_OWN}
    assert "workflow_status" in left
    assert "operation_outputs" in left
    assert set(left.values()) == {0}
    assert flood.files() == []
    # The first wave fills caches and pools.
    descriptors, threads, resident, database = zip(*held[1:], strict=True)
    assert descriptors[-1] <= descriptors[0] + 2
    assert threads[-1] <= threads[0] + 2
    assert resident[-1] <= resident[0] + MOST_BYTES
    assert database[-1] <= 1.2 * database[0]


def _held(flood: Flood) -> tuple[int, int, int, int]:
    """Return descriptors, threads, resident bytes, and bytes of the database's file."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return (
        # Connections to the database aside: how many a pool has had to make is chance.
        sum(not each.startswith("socket:") and SQLITE_FILE not in each for each in _targets()),
        threading.active_count(),
        pages * os.sysconf("SC_PAGE_SIZE"),
        flood.bytes_of_database(),
    )


def _targets() -> Iterator[str]:
    """Yield what every open descriptor is of."""
    for each in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            yield str(each.readlink())
