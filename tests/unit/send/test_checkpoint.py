"""A thread that is said to be paused is held, however the gate is opened and closed."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import pytest

from dicomnode.send.checkpoint import Checkpoint, put_checkpoint

TURNS = 3000


@pytest.fixture
def often_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Reactor:
    """Does what the library's thread does: pause, pass the gate, take what is there."""

    def __init__(self):
        self._is_paused = False
        self._reactor_checkpoint = threading.Event()
        self._reactor_checkpoint.set()
        self.ends = False
        self.messages = []
        self.stolen = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def is_alive(self):
        return self._thread.is_alive()

    def end(self):
        self.ends = True
        self._reactor_checkpoint.set()
        self._thread.join(10)

    def _run(self):
        while not self.ends:
            self._is_paused = True
            self._reactor_checkpoint.wait()
            self._is_paused = False
            if self.messages:
                self.messages.pop()
                self.stolen += 1


@pytest.mark.usefixtures("often_switching")
def test_who_is_said_to_be_paused_takes_no_response():
    reactor = Reactor()
    reactor.start()
    put_checkpoint(reactor, 10)
    gate = reactor._reactor_checkpoint
    for _ in range(TURNS):
        gate.clear()
        while not reactor._is_paused:
            pass
        reactor.messages.append("response")
        threading.Event().wait(0)  # let others run
        if reactor.messages:
            reactor.messages.pop()
        gate.set()
    reactor.end()

    assert reactor.stolen == 0
    assert not reactor.is_alive()


def test_a_closed_gate_holds_and_an_open_one_does_not():
    passed = threading.Event()
    assoc = SimpleNamespace(_is_paused=True, is_alive=lambda: True)
    gate = Checkpoint(assoc)
    gate.clear()
    waiting = threading.Thread(target=lambda: (gate.wait(), passed.set()), daemon=True)
    waiting.start()
    gate.await_arrival(10)

    assert not gate.is_set()
    assert assoc._is_paused
    assert not passed.is_set()
    gate.set()
    assert passed.wait(10)
    assert not assoc._is_paused


def test_nobody_waits_for_a_thread_that_has_ended():
    gate = Checkpoint(SimpleNamespace(_is_paused=False, is_alive=lambda: False))

    gate.await_arrival(1e9)

    assert gate.is_set()
