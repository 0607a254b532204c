"""How deliveries are put into their queue: lanes of a destination, and its pace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.config import FolderDestination
from dicomnode.database import Database, open_database
from dicomnode.database.delivery_rows import reserve_pace
from dicomnode.engine import JobQueue
from dicomnode.pipeline.enqueue import enqueue_delivery, queues


class Recorder:
    """Keeps what would have been enqueued."""

    def __init__(self) -> None:
        self.partitions: list[str] = []
        self.delays: list[float] = []

    def enqueue_in(self, *_: object, partition: str, delay_seconds: float) -> None:
        self.partitions.append(partition)
        self.delays.append(delay_seconds)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database("sqlite", data_dir=tmp_path)
    yield opened
    opened.close()


def destination(**named: object) -> FolderDestination:
    return FolderDestination.model_validate({"kind": "folder", "path": "/nowhere", **named})


def test_deliveries_use_as_many_lanes_as_are_allowed_and_a_job_keeps_to_one(database: Database):
    recorder = Recorder()
    jobs: JobQueue = recorder  # type: ignore[assignment]
    with database.begin() as transaction:
        for number in range(40):
            for attempt in (1, 2):
                enqueue_delivery(
                    jobs,
                    transaction,
                    f"1.2.{number}:abc:v1",
                    "pacs",
                    attempt,
                    config=destination(concurrency=3),
                )
    assert set(recorder.partitions) == {"pacs/0", "pacs/1", "pacs/2"}
    assert recorder.partitions[::2] == recorder.partitions[1::2]


def test_a_limited_rate_spaces_deliveries(database: Database):
    recorder = Recorder()
    jobs: JobQueue = recorder  # type: ignore[assignment]
    with database.begin() as transaction:
        for number in range(3):
            enqueue_delivery(
                jobs,
                transaction,
                f"1.2.{number}:abc:v1",
                "pacs",
                1,
                config=destination(per_minute=6),
            )
    assert recorder.delays == pytest.approx([0.0, 10.0, 20.0], abs=0.5)


def test_each_destination_has_a_pace_of_its_own(database: Database):
    with database.begin() as transaction:
        waits = [reserve_pace(transaction, name, interval_seconds=30.0) for name in ("a", "a", "b")]
    assert waits == pytest.approx([0.0, 30.0, 0.0], abs=0.5)


def test_a_worker_can_take_some_queues_only():
    assert [each.name for each in queues(analyses=2, names=("deliver",))] == ["deliver"]
