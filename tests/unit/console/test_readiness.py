"""Readiness: what probes are told, and how seldom components are asked for it."""

import threading

import pytest

from dicomnode.console.readiness import Readiness


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_every_component_says_how_it_is():
    readiness = Readiness({"database": lambda: None, "inference": lambda: "waiting for lung"})

    assert readiness.ask() == {"database": None, "inference": "waiting for lung"}


def test_a_probe_every_moment_asks_the_components_once(clock):
    asked = []
    readiness = Readiness({"inference": lambda: asked.append(1)}, fresh_seconds=2, clock=clock)

    for _ in range(20):
        readiness.ask()
        clock.now += 0.1

    assert len(asked) == 1


def test_an_answer_grows_old(clock):
    answers = iter(("away", None))
    readiness = Readiness({"inference": lambda: next(answers)}, fresh_seconds=2, clock=clock)

    before = readiness.ask()
    clock.now += 2.5

    assert (before, readiness.ask()) == ({"inference": "away"}, {"inference": None})


def test_a_component_that_hangs_is_not_ready_and_holds_up_no_other():
    release = threading.Event()
    readiness = Readiness(
        {"database": lambda: None, "inference": lambda: release.wait(10) and None},
        deadline_seconds=0.05,
    )

    found = readiness.ask()
    release.set()

    assert found == {"database": None, "inference": "no answer within 0.05 s"}


def test_a_component_that_cannot_be_asked_is_not_ready():
    def ask():
        raise OSError("what it says may hold anything")

    assert Readiness({"spool": ask}).ask() == {"spool": "cannot be asked (OSError)"}
