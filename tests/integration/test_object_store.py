"""Receivers and workers without a common disk: an S3 bucket and PostgreSQL are all they share."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from dicomnode.config import load
from dicomnode.database.job_rows import list_deliveries, list_jobs
from dicomnode.database.series_rows import list_instances, list_series
from dicomnode.node.composition import Node
from dicomnode.send.outcome import StoreOutcome
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.part10 import read_stored
from dicomnode.spool.storage import open_storage
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.object_store import ObjectStore
from tests.support.pacs import FlakyPacs
from tests.support.postgres import Postgres
from tests.support.web_archive import free_port
from tests.support.workers import (
    Crew,
    Journal,
    ReceiverSpec,
    Spec,
    is_up,
    opened,
    run_receiver,
    run_worker,
    wait_until,
)


class Cluster:
    """Hosts with a folder each; what they share is a bucket and a database."""

    def __init__(self, folder: Path, url: str, pacs: FlakyPacs, bucket: ObjectStore) -> None:
        self.folder = folder
        self._url = url
        self._pacs = pacs
        self._bucket = bucket

    def host(self, name: str) -> Path:
        """Return the configuration of a host, and make its folder."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        config = folder / "dicomnode.toml"
        config.write_text(f"""
data_dir = "{folder / "data"}"
[database]
url = "{self._url}"
{self._bucket.section(folder)}
[receive]
reserve_bytes = 0
[pipelines.plain]
ae_title = "PLAIN"
destinations = ["pacs"]
[pipelines.plain.completion]
quiet_seconds = 1.0
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {self._pacs.port}
first_retry_seconds = 0.3
""")
        return config

    def receiver(self, crew: Crew, name: str) -> AEAddress:
        to = AEAddress("PLAIN", "127.0.0.1", free_port())
        config = self.host(name)
        crew.add(
            name, run_receiver, ReceiverSpec(config=config, folder=config.parent, port=to.port)
        )
        wait_until(lambda: is_up(to), 30, f"{name} was up")
        return to

    def worker(self, crew: Crew, name: str, **named: object) -> None:
        config = self.host(name)
        crew.add(name, run_worker, Spec(config=config, folder=config.parent, **named))  # type: ignore[arg-type]

    def lose_disk(self, name: str) -> None:
        shutil.rmtree(self.folder / name / "data")


@pytest.fixture
def bucket() -> Iterator[ObjectStore]:
    with ObjectStore() as made:
        yield made


@pytest.fixture
def cluster(tmp_path: Path, postgres: Postgres, bucket: ObjectStore) -> Iterator[Cluster]:
    with FlakyPacs() as pacs:
        yield Cluster(tmp_path, postgres.new_database(), pacs, bucket)


def send(paths: list[Path], to: AEAddress) -> tuple[StoreOutcome, ...]:
    return send_instances(paths, to=to, calling_ae_title="CT", timeout_seconds=30)


def digests(paths: list[Path]) -> dict[str, str]:
    found = {}
    for path in paths:
        _meta, identity, data_set = read_stored(path)
        found[identity.sop_instance_uid] = hashlib.sha256(data_set).hexdigest()
    return found


def test_hosts_that_die_with_their_disks_lose_nothing(cluster: Cluster, tmp_path: Path):
    paths = make_series(tmp_path / "ct", shape_kji=(10, 23, 17))
    with Crew() as crew:
        one, two = (cluster.receiver(crew, name) for name in ("receiver-a", "receiver-b"))
        assert all(each.accepted for each in send(paths[:4], one))
        crew.dismiss("receiver-a")
        cluster.lose_disk("receiver-a")
        assert all(each.accepted for each in send(paths[4:], two))

        cluster.worker(crew, "worker-a", triton_seconds=60.0)
        with opened(cluster.host("reader")) as (settings, database):

            def job():
                with database.begin() as transaction:
                    jobs = list_jobs(transaction)
                return jobs[0] if len(jobs) == 1 else None

            wait_until(lambda: job() and job().stage == "infer", 40, "the models were asked")
            crew.dismiss("worker-a")
            cluster.lose_disk("worker-a")
            cluster.worker(crew, "worker-b")

            def is_delivered() -> bool:
                with database.begin() as transaction:
                    rows = list_deliveries(transaction, job().id)
                return [each.state for each in rows] == ["delivered"]

            wait_until(is_delivered, 40, "the results were delivered")
            with database.begin() as transaction:
                (row,) = list_series(transaction)
                refs = list_instances(transaction, "plain", row.series_instance_uid)
            # A host that has never seen them reads instances and results.
            storage = open_storage(settings)
            found = digests([storage.store.path(ref.key) for ref in refs])
            assert found == digests(paths)
            results = {name: storage.outbox.path(key) for name, key in job().files.items()}
            assert results["seg.dcm"].is_file()
        begun = [
            step
            for _at, _pid, _workflow, step, what in Journal(
                cluster.folder / "worker-b" / "journal"
            ).read()
            if what == "begin"
        ]
        # What the first worker had assembled lay on its disk; the step is not counted as lost.
        assert "assemble" not in begun


def test_success_means_that_object_and_row_are_there(
    cluster: Cluster, bucket: ObjectStore, tmp_path: Path
):
    paths = make_series(tmp_path / "ct")
    with Crew() as crew, opened(cluster.host("reader")) as (_settings, database):
        to = cluster.receiver(crew, "receiver-a")
        seen: list[int] = []

        def look(_outcome: StoreOutcome) -> None:
            with database.begin() as transaction:
                seen.append(sum(row.instance_count for row in list_series(transaction)))

        send_instances(paths, to=to, calling_ae_title="CT", timeout_seconds=30, on_sent=look)

    assert all(count > number for number, count in enumerate(seen))
    stored = [each for each in bucket.list_keys() if each.startswith("node/a/instances/")]
    assert len(stored) == len(paths) == len(seen)


def test_without_the_object_store_a_receiver_answers_out_of_resources(
    cluster: Cluster, bucket: ObjectStore, tmp_path: Path
):
    paths = make_series(tmp_path / "ct")
    with Crew() as crew:
        to = cluster.receiver(crew, "receiver-a")
        bucket.break_down()

        assert {each.status for each in send(paths, to)} == {0xA700}

        bucket.mend()
        assert all(each.accepted for each in send(paths, to))


def test_an_object_whose_row_is_missing_is_recorded_at_the_next_start(
    cluster: Cluster, tmp_path: Path
):
    paths = make_series(tmp_path / "ct")
    config = cluster.host("receiver-a")
    store = open_storage(load(config)).store
    for path in paths:
        meta, identity, data_set = read_stored(path)
        store.store(
            pipeline="plain",
            sop_class_uid=identity.sop_class_uid,
            sop_instance_uid=identity.sop_instance_uid,
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=meta.transfer_syntax_uid,
            calling_ae_title="CT",
            data_set=bytes(data_set),
        )
    cluster.lose_disk("receiver-a")

    with Crew() as crew, opened(config) as (_settings, database):
        cluster.receiver(crew, "receiver-a")

        def counts() -> list[int]:
            with database.begin() as transaction:
                return [row.instance_count for row in list_series(transaction)]

        wait_until(lambda: counts() == [len(paths)], 20, "the instances were on record")


def test_every_host_counts_the_whole_quarantine(cluster: Cluster):
    config = load(cluster.host("receiver-a"))
    storage = open_storage(config)
    for content in (b"first", b"second", b"third"):
        storage.quarantine.keep(content, reason="no slice", facts={})
    other = load(cluster.host("console-b"))
    console = other.console.model_copy(update={"port": 0})
    node = Node(other.model_copy(update={"console": console}), roles=frozenset(("console",)))
    node.start()
    try:
        (url,) = (each.where for each in node.endpoints if each.what == "console")
        page = httpx.get(f"{url.rstrip('/')}/metrics").text
    finally:
        node.stop()

    assert "\ndicomnode_quarantine_objects 3.0\n" in page
