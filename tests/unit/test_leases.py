"""Leases: held by one, freed by the death of the holder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from dicomnode.database import open_database
from dicomnode.leases import FileLeases, open_leases

_HOLDER = """
import sys
from pathlib import Path
from dicomnode.leases import FileLeases
leases = FileLeases(Path(sys.argv[1]))
print(leases.acquire("node"), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_lease_is_held_by_one(tmp_path):
    first, second = FileLeases(tmp_path), FileLeases(tmp_path)

    assert first.acquire("node")
    assert not second.acquire("node")
    assert second.acquire("other")
    first.close()
    second.close()


def test_a_lease_given_back_is_free(tmp_path):
    first, second = FileLeases(tmp_path), FileLeases(tmp_path)
    assert first.acquire("node")

    first.release("node")

    assert second.acquire("node")
    second.close()


def test_close_gives_everything_back(tmp_path):
    first, second = FileLeases(tmp_path), FileLeases(tmp_path)
    assert first.acquire("a")
    assert first.acquire("b")

    first.close()

    assert second.acquire("a")
    assert second.acquire("b")
    second.close()


def test_another_process_that_holds_it_keeps_it(tmp_path, holder):
    assert holder.poll() is None
    assert not FileLeases(tmp_path).acquire("node")


def test_the_death_of_the_holder_frees_it(tmp_path, holder):
    holder.kill()
    holder.wait(10)

    leases = FileLeases(tmp_path)
    assert leases.acquire("node")
    leases.close()


def test_a_child_does_not_inherit_a_lease(tmp_path):
    """An inference server that outlived its node would else keep the next one out."""
    first = FileLeases(tmp_path)
    assert first.acquire("node")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        first.close()

        second = FileLeases(tmp_path)
        assert second.acquire("node")
        second.close()
        child.stdin.close()


def test_sqlite_has_its_leases_beside_it(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    leases = open_leases(database)

    assert leases.acquire("node")

    assert os.listdir(tmp_path / "leases") == ["node.lock"]  # noqa: PTH208 - names are what counts
    leases.close()
    database.close()
