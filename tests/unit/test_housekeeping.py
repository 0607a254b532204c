"""Chores of a worker: again and again, and none for ever."""

from __future__ import annotations

import threading

import pytest

from dicomnode.node.housekeeping import Chore, Housekeeper


@pytest.fixture
def keep(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dicomnode.node.housekeeping._LOOK_SECONDS", 0.01)
    keepers: list[Housekeeper] = []

    def start(*chores: Chore) -> Housekeeper:
        keepers.append(Housekeeper(*chores))
        keepers[-1].start()
        return keepers[-1]

    yield start
    for each in keepers:
        each.stop(wait_seconds=10)


def test_a_chore_that_fails_is_done_again_and_keeps_no_other(keep):
    times, other = threading.Semaphore(0), threading.Semaphore(0)

    def fail() -> None:
        times.release()
        raise OSError("away")

    keep(
        Chore(name="failing", every_seconds=0.0, do=fail),
        Chore(name="other", every_seconds=0.0, do=other.release),
    )

    for _ in range(3):
        assert times.acquire(timeout=10)
        assert other.acquire(timeout=10)


def test_a_chore_waits_for_its_time(keep):
    seldom, often = [], threading.Semaphore(0)
    keep(
        Chore(name="seldom", every_seconds=60.0, do=lambda: seldom.append(1)),
        Chore(name="often", every_seconds=0.0, do=often.release),
    )
    for _ in range(5):
        assert often.acquire(timeout=10)
    assert seldom == [1]


def test_one_that_hangs_is_told_and_not_waited_for(keep):
    begun, leave = threading.Event(), threading.Event()
    keeper = keep(Chore(name="long", every_seconds=0.0, do=lambda: (begun.set(), leave.wait(10))))
    assert begun.wait(10)

    keeper.stop(wait_seconds=0.05)

    assert 0.04 < keeper.silent_seconds() < 10
    leave.set()
    keeper.stop(wait_seconds=10)
    assert keeper.silent_seconds() == float("inf")
