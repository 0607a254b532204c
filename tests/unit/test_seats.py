"""Seats at models: so many of all processes, in turn, and none kept by the dead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode.leases import FileLeases
from dicomnode.node.seats import LeasedSeats

_HOLDER = """
import sys
from pathlib import Path
from dicomnode.leases import FileLeases
from dicomnode.node.seats import LeasedSeats
seats = LeasedSeats(FileLeases(Path(sys.argv[1])), "server")
print(seats.take("net", 1) is not None, seats.take("net", 1), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def seats(tmp_path: Path):
    made: list[LeasedSeats] = []

    def make(server: str = "server") -> LeasedSeats:
        made.append(LeasedSeats(FileLeases(tmp_path), server))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_all_together_have_no_more_seats_than_the_limit(seats):
    one, other = seats(), seats()
    taken = [one.take("net", 3), other.take("net", 3), one.take("net", 3)]
    assert None not in taken
    assert len(set(taken)) == 3

    assert one.take("net", 3) is None
    one.leave("net")

    other.give_back(taken[1])
    assert one.take("net", 3) == taken[1]


def test_models_and_servers_have_seats_of_their_own(seats):
    assert seats().take("net", 1) is not None
    assert seats().take("other", 1) is not None
    assert seats("elsewhere").take("net", 1) is not None
    assert seats().take("net", 1) is None


def test_the_one_that_waits_has_the_next_seat_not_the_one_that_had_it(seats):
    greedy, patient = seats(), seats()
    seat = greedy.take("net", 1)
    assert patient.take("net", 1) is None

    greedy.give_back(seat)

    assert greedy.take("net", 1) is None
    assert patient.take("net", 1) == seat


def test_who_leaves_the_queue_stands_in_nobodys_way(seats):
    holder, one, other = seats(), seats(), seats()
    seat = holder.take("net", 1)
    assert one.take("net", 1) is None

    one.leave("net")
    holder.give_back(seat)

    assert other.take("net", 1) == seat


def test_the_dead_keep_neither_seat_nor_place(seats, tmp_path: Path):
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, tmp_path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True None\n"
        other = seats()
        assert other.take("net", 1) is None

        holder.kill()
        holder.wait(10)

        assert other.take("net", 1) is not None


def test_a_call_that_outlasts_its_worker_has_nothing_to_give_back(seats):
    one = seats()
    seat = one.take("net", 1)

    one.close()
    one.give_back(seat)

    assert seats().take("net", 1) == seat
    assert one.take("net", 2) is None
