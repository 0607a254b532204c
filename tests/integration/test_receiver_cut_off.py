"""A receiver whose PostgreSQL is gone says so at once, and goes on when it is back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.database.series_rows import list_series
from dicomnode.send.outcome import StoreOutcome
from dicomnode.send.store_scu import send_instances
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.postgres import Postgres
from tests.support.web_archive import free_port
from tests.support.workers import Crew, ReceiverSpec, is_up, opened, run_receiver, wait_until

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def send(paths: list[Path], to: AEAddress) -> tuple[StoreOutcome, ...]:
    return send_instances(paths, to=to, calling_ae_title="CT", timeout_seconds=30)


def test_without_its_database_a_receiver_answers_out_of_resources(tmp_path: Path):
    config = tmp_path / "dicomnode.toml"
    paths = make_series(tmp_path / "ct")
    to = AEAddress("PLAIN", "127.0.0.1", free_port())
    with Postgres() as server, Crew() as crew:
        config.write_text(f"""
data_dir = "{tmp_path / "data"}"
[database]
url = "{server.new_database()}"
[receive]
reserve_bytes = 0
[pipelines.plain]
ae_title = "PLAIN"
destinations = ["share"]
[pipelines.plain.completion]
quiet_seconds = 0.5
[destinations.share]
kind = "folder"
path = "{tmp_path / "share"}"
""")
        receiver = ReceiverSpec(config=config, folder=tmp_path, port=to.port)
        crew.add("receiver", run_receiver, receiver)
        wait_until(lambda: is_up(to), 30, "the receiver was up")
        assert all(each.accepted for each in send(paths[:3], to))

        server.stop()
        assert {each.status for each in send(paths[3:5], to)} == {0xA700}

        server.start()
        wait_until(
            lambda: all(each.accepted for each in send(paths[3:], to)),
            15,
            "the receiver took instances again",
        )

        def instances() -> int:
            with opened(config) as (_settings, database), database.begin() as transaction:
                return sum(
                    row.instance_count for row in list_series(transaction) if row.state == "closed"
                )

        wait_until(lambda: instances() == len(paths), 30, "the series was closed, whole")
        assert crew.deaths == 0
