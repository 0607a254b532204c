"""Further receiver processes are replaced, whatever the machine has left for them."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess

import pytest

from dicomnode.config import Config
from dicomnode.node import receivers
from dicomnode.node.receivers import ReceiverProcesses
from dicomnode.receive.seats import SharedSeats
from tests.support.node import wait_until

# Says that it is ready, and ends with its standard input, as a receiver does.
PROGRAM = "import sys; sys.stdin.readline(); print('ready', flush=True); sys.stdin.read()"


@pytest.fixture
def config(tmp_path) -> Config:
    return Config.model_validate(
        {
            "data_dir": tmp_path,
            "receive": {"processes": 2},
            "pipelines": {"p": {"ae_title": "P", "segment": ["lung"], "destinations": ["out"]}},
            "destinations": {"out": {"kind": "folder", "path": tmp_path}},
        }
    )


@pytest.fixture
def seats():
    made = SharedSeats(SharedSeats.create(4), process=1)
    yield made
    made.close()


def test_a_machine_without_a_process_to_spare_is_asked_again(
    config, seats, monkeypatch: pytest.MonkeyPatch
):
    started: list[subprocess.Popen[bytes]] = []
    refusals = [OSError(errno.EAGAIN, "Resource temporarily unavailable")]
    popen = subprocess.Popen

    def start(*arguments, **named):
        if started and refusals:
            raise refusals.pop()
        started.append(popen(*arguments, **named))
        return started[-1]

    monkeypatch.setattr(receivers, "PROGRAM", PROGRAM)
    monkeypatch.setattr(receivers, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(subprocess, "Popen", start)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        others = ReceiverProcesses(config, listening, seats, None)
        others.start()
        others.go(lambda: None)
        try:
            os.kill(started[0].pid, signal.SIGKILL)
            wait_until(lambda: len(started) == 2, 10, "another process was started")
        finally:
            others.drain()
            others.wait()

    assert refusals == []
    assert started[1].returncode == 0
