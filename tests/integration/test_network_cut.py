"""Hosts on a network: a receiver that PostgreSQL has become unreachable for, and no one else."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.database.job_rows import list_jobs
from dicomnode.database.series_rows import list_instances, list_series
from dicomnode.errors import SendError
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.instances import InstanceStore
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.network import (
    DATABASE_HOST,
    Network,
    Within,
    can_have_networks,
    run_receiver_within,
    run_worker_within,
)
from tests.support.postgres import Postgres
from tests.support.workers import Crew, ReceiverSpec, Spec, is_up, opened, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.hardware,  # root, and a kernel that lets it make namespaces
    pytest.mark.skipif(not can_have_networks(), reason="may not make network namespaces here"),
    # pynetdicom leaves the socket of a refused connection to the garbage collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PORT = 11112


def write_config(folder: Path, url: str) -> Path:
    path = folder / "dicomnode.toml"
    path.write_text(f"""
data_dir = "{folder / "data"}"
[database]
url = "{url}"
[receive]
host = "0.0.0.0"
reserve_bytes = 0
allowed_callers = [{{ ae_title = "CT", hosts = ["198.18.0.0/15"] }}]
[pipelines.plain]
ae_title = "PLAIN"
destinations = ["share"]
[pipelines.plain.completion]
quiet_seconds = 2.0
[destinations.share]
kind = "folder"
path = "{folder / "share"}"
""")
    return path


def send(paths: list[Path], to: AEAddress) -> dict[Path, int | None]:
    """Send until the receiver cuts the association; return the status of each that has one."""
    statuses: dict[Path, int | None] = {}
    try:
        send_instances(
            paths,
            to=to,
            calling_ae_title="CT",
            timeout_seconds=60,
            on_sent=lambda outcome: statuses.update({outcome.path: outcome.status}),
        )
    except SendError:
        assert len(statuses) < len(paths)
    return statuses


def test_a_receiver_cut_off_from_its_database_loses_nothing_and_recovers(tmp_path: Path):
    paths = make_series(tmp_path / "ct", shape_kji=(24, 23, 17))
    later = make_series(tmp_path / "later", shape_kji=(9, 23, 17), seed=5)
    with (
        Network("a", "b") as network,
        Postgres(address=DATABASE_HOST) as server,
        Crew() as crew,
    ):
        config = write_config(tmp_path, server.new_database())
        receiver = ReceiverSpec(config=config, folder=tmp_path, port=PORT)
        one, two = (AEAddress("PLAIN", network.address(name), PORT) for name in "ab")
        for name in "ab":
            told = Within(space=network.space(name), spec=receiver)
            crew.add(f"receiver-{name}", run_receiver_within, told)
        worker = Within(space=network.space("b"), spec=Spec(config=config, folder=tmp_path))
        crew.add("worker", run_worker_within, worker)
        wait_until(lambda: is_up(one) and is_up(two), 60, "both receivers were up")

        with opened(config) as (settings, database):
            statuses = send(paths[:8], one)
            assert set(statuses.values()) == {0x0000}

            network.cut_off("a")
            # What comes now may still be taken, as its file is durable, until rows are refused.
            for path in paths[8:16]:
                statuses |= send([path], one)
            assert set(statuses.values()) <= {0x0000, 0xA700}
            refused = [each for each in paths if statuses.get(each) != 0x0000]
            assert refused, "the receiver must say at last that it cannot take instances"
            # The sender's other way: what was not acknowledged.
            again = send(refused, two)
            assert set(again.values()) == {0x0000}

            def last_job():
                with database.begin() as transaction:
                    series = list_series(transaction)
                    jobs = list_jobs(transaction)
                whole = [each for each in series if each.instance_count == len(paths)]
                return [
                    job
                    for job in jobs
                    if job.state == "done" and whole and job.digest == whole[0].digest
                ]

            # By the other receiver: it finds the files of the one that counts as dead.
            wait_until(last_job, 120, "the whole series was analyzed")
            with database.begin() as transaction:
                (row,) = list_series(transaction)
                refs = list_instances(transaction, "plain", row.series_instance_uid)
            store = InstanceStore(settings.data_dir, reserve_bytes=0)
            assert all(store.is_whole(ref) for ref in refs)
            assert len(refs) == len(paths)

            network.mend("a")

            def takes_again() -> bool:
                return set(send(later, one).values()) == {0x0000}

            wait_until(takes_again, 60, "the receiver took instances again")

            def both_closed() -> bool:
                with database.begin() as transaction:
                    series = list_series(transaction)
                return [each.state for each in series] == ["closed", "closed"]

            wait_until(both_closed, 60, "its series was closed")
            assert crew.deaths == 0
