"""What is pruned, when, and above all what is not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from dicomnode.config import DimseDestination, RetentionConfig
from dicomnode.database import Database, Transaction, open_database
from dicomnode.database.delivery_rows import (
    open_delivery,
    record_attempt,
    record_sent,
    settle_delivery,
)
from dicomnode.database.job_rows import create_job, get_job, set_job
from dicomnode.database.tables import metadata
from dicomnode.engine import JobQueue
from dicomnode.model.series import SeriesRevision
from dicomnode.pipeline import retention
from dicomnode.pipeline.enqueue import enqueue_analysis
from dicomnode.pipeline.retention import Pruned, Retention
from dicomnode.pipeline.steering import dismiss_job, send_job
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.results import Outbox

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
POLICY = RetentionConfig()
PACS = DimseDestination(kind="dimse", ae_title="PACS", host="127.0.0.1", port=104)


class Site:
    """A spool and its records, with series of any state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database: Database = open_database("sqlite", data_dir=folder)
        self.store = InstanceStore(folder, reserve_bytes=0)
        self.outbox = Outbox(folder)
        self.jobs = JobQueue(self.database)
        self.used = 0.1

    def close(self) -> None:
        self.jobs.close()
        self.database.close()

    def add(
        self,
        number: int,
        *,
        state: str = "done",
        delivery: str | None = "delivered",
        series_state: str = "closed",
        at: datetime = LONG_AGO,
    ) -> str:
        """Put a series with one instance and one job on record and on disk; return the job's id."""
        uid = f"1.2.{number}"
        key = f"instances/plain/{uid}/1.2.{number}.1.{'ab' * 8}.dcm"
        path = self.store.path(key)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"instance")
        revision = SeriesRevision(
            pipeline="plain", series_instance_uid=uid, revision=1, digest="0" * 16
        )
        job_id = revision.job_id("plain-1")
        (self.folder / "outbox" / job_id.replace(":", "@")).mkdir()
        (self.folder / "outbox" / job_id.replace(":", "@") / "sr.dcm").write_bytes(b"report")
        tables = metadata.tables
        with self.database.begin() as transaction:
            transaction.execute(
                sa.insert(tables["series"]).values(
                    pipeline="plain",
                    series_instance_uid=uid,
                    study_instance_uid="1.2",
                    calling_ae_title="CT",
                    state=series_state,
                    revision=1,
                    instance_count=1,
                    first_received_at=at,
                    last_received_at=at,
                )
            )
            transaction.execute(
                sa.insert(tables["instance"]).values(
                    pipeline="plain",
                    sop_instance_uid=f"{uid}.1",
                    series_instance_uid=uid,
                    study_instance_uid="1.2",
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                    transfer_syntax_uid="1.2.840.10008.1.2.1",
                    digest="ab" * 32,
                    size_bytes=8,
                    key=key,
                    received_at=at,
                )
            )
            create_job(transaction, job_id, revision)
            set_job(transaction, job_id, state=state, files={"sr.dcm": f"outbox/{number}/sr.dcm"})
            if delivery is not None:
                open_delivery(transaction, job_id, "pacs")
                record_attempt(
                    transaction,
                    job_id,
                    "pacs",
                    1,
                    outcome="delivered",
                    words=None,
                    objects=[{"sop_instance_uid": f"{uid}.9"}],
                    seconds=0.1,
                )
                record_sent(transaction, "pacs", f"{uid}.9", status=0)
                settle_delivery(transaction, job_id, "pacs", state=delivery, attempt=1, words=None)
            for name in ("job", "delivery"):
                transaction.execute(
                    sa.update(tables[name])
                    .where(tables[name].c["id" if name == "job" else "job_id"] == job_id)
                    .values(updated_at=at)
                )
        return job_id

    def prune(self, policy: RetentionConfig = POLICY, **named: object) -> Pruned:
        retention = Retention(
            self.database,
            self.store,
            self.outbox,
            self.jobs,
            {"plain": policy},
            data_dir=self.folder,
            used_share=lambda _folder: self.used,
        )
        return retention.prune(NOW, **named)  # type: ignore[arg-type]

    def files(self, kind: str) -> list[str]:
        return [each.name for each in (self.folder / kind).rglob("*") if each.is_file()]

    def rows(self) -> dict[str, int]:
        with self.database.begin() as transaction:
            return {
                name: transaction.execute(
                    sa.select(sa.func.count()).select_from(table)
                ).scalar_one()
                for name, table in metadata.tables.items()
            }


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def test_what_was_delivered_long_ago_leaves_nothing(site: Site):
    site.add(1)
    site.prune()
    site.prune()
    assert site.files("instances") == site.files("outbox") == []
    assert set(site.rows().values()) == {0}


@pytest.mark.parametrize(("age_days", "instances", "results", "records"), [
    (6, 1, 1, 1),
    (8, 0, 1, 1),
    (31, 0, 0, 1),
    (366, 0, 0, 0),
])  # fmt: skip
def test_each_kind_has_its_age(
    site: Site, age_days: int, instances: int, results: int, records: int
):
    site.add(1, at=NOW - timedelta(days=age_days))
    site.prune()
    found = (len(site.files("instances")), len(site.files("outbox")), site.rows()["job"])
    assert found == (instances, results, records)


@pytest.mark.parametrize(("state", "delivery"), [
    ("queued", None),
    ("running", None),
    ("waiting", None),
    ("failed", None),
    ("done", "pending"),
    ("done", "parked"),
    ("done", "committing"),
    ("refused", "pending"),
    ("superseded", "pending"),
])  # fmt: skip
@pytest.mark.parametrize("used", [0.1, 0.99])
def test_what_is_owed_is_never_pruned_however_full_the_disk(
    site: Site, state: str, delivery: str | None, used: float
):
    site.add(1, state=state, delivery=delivery)
    site.used = used
    assert site.prune() == Pruned()
    assert len(site.files("instances")) == len(site.files("outbox")) == 1


@pytest.mark.parametrize(("state", "delivery"), [
    ("superseded", None),
    ("cancelled", None),
    ("done", "committed"),
    ("refused", "delivered"),
    ("done", "dismissed"),
])  # fmt: skip
def test_what_is_settled_is_pruned(site: Site, state: str, delivery: str | None):
    site.add(1, state=state, delivery=delivery)
    site.prune()
    assert site.files("instances") == []


def test_a_series_that_was_opened_again_stays(site: Site):
    site.add(1, series_state="open")
    site.prune()
    assert len(site.files("instances")) == 1


@pytest.mark.parametrize(("state", "delivery"), [("failed", None), ("done", "parked")])
def test_an_operators_word_settles_what_failed(site: Site, state: str, delivery: str | None):
    job_id = site.add(1, state=state, delivery=delivery)
    dismiss_job(site.database, job_id)
    later = RetentionConfig(received_days=0, results_days=0)
    site.used = 0.1
    retention = Retention(
        site.database, site.store, site.outbox, site.jobs, {"plain": later}, data_dir=site.folder
    )
    retention.prune(datetime.now(UTC) + timedelta(seconds=1))
    assert site.files("instances") == site.files("outbox") == []


def test_a_full_disk_costs_the_oldest_received_instances_first(site: Site):
    for number in range(1, 5):
        site.add(number, at=NOW - timedelta(days=1, minutes=number))
    site.used = 0.95
    removed: list[str] = []
    original = site.store.remove

    def remove(keys: tuple[str, ...]) -> None:
        removed.extend(keys)
        site.used -= 0.08  # two of them reach the low watermark
        original(keys)

    site.store.remove = remove  # type: ignore[method-assign,assignment]
    site.prune()
    assert [key.split("/")[2] for key in removed] == ["1.2.4", "1.2.3"]
    assert len(site.files("outbox")) == 4


def test_work_files_of_ended_jobs_are_swept(site: Site):
    done = site.add(1, at=NOW - timedelta(days=1))
    running = site.add(2, state="running", delivery=None)
    for job_id in (done, running):
        (site.outbox.work_dir(job_id) / "volume.npy").write_bytes(b"x")
    site.prune()
    assert len(site.files("work")) == 1


@pytest.mark.parametrize(("used", "left"), [(0.1, 1), (0.99, 0)])
def test_work_files_of_a_failed_job_are_kept_for_a_retry_while_there_is_room(
    site: Site, used: float, left: int
):
    failed = site.add(1, state="failed", delivery=None)
    (site.outbox.work_dir(failed) / "volume.npy").write_bytes(b"x")
    site.used = used
    site.prune()
    assert len(site.files("work")) == left
    site.used = 0.1
    dismiss_job(site.database, failed)
    site.prune()
    assert site.files("work") == []


def test_an_engine_that_was_away_forgets_at_the_next_round(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    job_id = site.add(1)
    with site.database.begin() as transaction:
        enqueue_analysis(site.jobs, transaction, job_id, 1)

    def away(_prefixes: object) -> int:
        raise sa.exc.OperationalError("delete", {}, OSError("cut off"))

    with monkeypatch.context() as patch:
        patch.setattr(site.jobs, "forget", away)
        with pytest.raises(sa.exc.OperationalError):
            site.prune()
    assert site.jobs.known([job_id]) == {job_id}

    site.prune()

    assert site.jobs.known([job_id]) == frozenset()
    assert set(site.rows().values()) == {0}


def test_results_that_an_operator_sends_anew_stay_though_they_were_listed(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    first, second = site.add(1), site.add(2)
    listed = retention.list_prunable_jobs

    def list_and_be_slow(transaction: Transaction, pipeline: str, **named: Any) -> tuple[str, ...]:
        found = listed(transaction, pipeline, **named)
        if second in found:
            # As if in a transaction between this one and the removal.
            with monkeypatch.context() as patch:
                patch.setattr(site.database.__class__, "begin", lambda _: nullcontext(transaction))
                send_job(site.database, site.jobs, second, "pacs", destinations={"pacs": PACS})
        return found

    monkeypatch.setattr(retention, "list_prunable_jobs", list_and_be_slow)

    site.prune()

    assert len(site.files("outbox")) == 1
    with site.database.begin() as transaction:
        kept = get_job(transaction, second)
        assert kept is not None
        assert kept.files
        assert get_job(transaction, first) is None
