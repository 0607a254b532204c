"""Group commit: order, failure, backlog, flush, stop."""

import threading

import pytest

from dicomnode.errors import StateError
from dicomnode.series import batches
from dicomnode.series.batches import BatchWriter


class Target:
    """Takes batches; can be made to fail or to stand still."""

    def __init__(self):
        self.batches = []
        self.fails_with = None
        self.attempts = 0
        self.failed = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def write(self, batch):
        assert self.gate.wait(20)
        self.attempts += 1
        if self.fails_with is not None:
            self.failed.set()
            raise self.fails_with
        self.batches.append(list(batch))

    @property
    def items(self):
        return [item for batch in self.batches for item in batch]


@pytest.fixture
def target():
    return Target()


@pytest.fixture
def writer(target):
    writer = BatchWriter(target.write, name="test-rows")
    writer.start()
    yield writer
    target.fails_with = None
    target.gate.set()
    writer.stop()


def test_what_is_handed_in_together_is_written_together_and_in_order(writer, target):
    for number in range(100):
        writer.put(number)
    writer.flush()

    assert target.items == list(range(100))
    assert len(target.batches) < 10


def test_threads_that_hand_in_at_once_share_batches_and_lose_nothing(writer, target):
    threads = [
        threading.Thread(target=lambda n=n: [writer.put((n, i)) for i in range(50)])
        for n in range(4)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    writer.flush()

    assert sorted(target.items) == [(n, i) for n in range(4) for i in range(50)]
    for n in range(4):
        assert [item for item in target.items if item[0] == n] == [(n, i) for i in range(50)]
    assert len(target.batches) < 50


def test_a_batch_has_a_limit(writer, target, monkeypatch):
    monkeypatch.setattr(batches, "_LARGEST_BATCH", 10)
    target.gate.clear()
    for number in range(35):
        writer.put(number)
    target.gate.set()
    writer.flush()

    assert target.items == list(range(35))
    assert max(map(len, target.batches)) == 10


def test_a_failure_is_told_to_whoever_comes_next_and_overcome(writer, target, monkeypatch):
    monkeypatch.setattr(batches, "_RETRY_SECONDS", 0.05)
    target.fails_with = RuntimeError("disk I/O error")
    writer.put("a")
    assert target.failed.wait(10)
    with pytest.raises(StateError, match="takes no rows: RuntimeError"):
        writer.flush(0.2)
    with pytest.raises(StateError, match="takes no rows: RuntimeError"):
        writer.put("b")
    writer.put("end", must_take=True)

    target.fails_with = None
    writer.flush()

    assert target.items == ["a", "end"]
    writer.put("c")


def test_a_backlog_is_waited_for_and_has_an_end(writer, target, monkeypatch):
    monkeypatch.setattr(batches, "_LONGEST_BACKLOG", 5)
    monkeypatch.setattr(batches, "_PATIENCE_SECONDS", 0.1)
    target.gate.clear()
    for number in range(5):
        writer.put(number)
    with pytest.raises(StateError, match="too slow"):
        writer.put(5)

    target.gate.set()
    writer.flush(10)
    writer.put("next")


def test_stopping_writes_what_is_left(target):
    writer = BatchWriter(target.write, name="test-rows")
    writer.start()
    writer.put("last")

    writer.stop()

    assert target.items == ["last"]


def test_stopping_does_not_wait_for_what_cannot_be_written(target):
    target.fails_with = RuntimeError("gone")
    writer = BatchWriter(target.write, name="test-rows")
    writer.start()
    writer.put("last")

    writer.stop()

    assert target.attempts >= 1
    assert target.items == []
