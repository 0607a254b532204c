"""Seats of associations: alone, and shared by several processes."""

import multiprocessing
import os
import threading

import pytest

from dicomnode.receive.seats import OwnSeats, SharedSeats

CT, PACS = "192.0.2.10", "2001:db8::7"


@pytest.fixture
def shared():
    """Two processes' views of the same seats."""
    first = SharedSeats(SharedSeats.create(4), process=1)
    second = SharedSeats(os.dup(first.descriptor), process=2)
    yield first, second
    first.close()
    second.close()


def test_one_process_counts_its_own():
    seats = OwnSeats()
    seat = seats.take(CT)
    seats.take(PACS)
    assert (seats.count(CT), seats.count("192.0.2.11")) == ((2, 1), (2, 0))

    seats.leave(seat)
    assert seats.count(CT) == (1, 0)


def test_several_count_all(shared):
    first, second = shared
    seat = first.take(CT)
    second.take(CT)
    second.take(PACS)
    assert first.count(CT) == second.count(CT) == (3, 2)

    first.leave(seat)
    assert second.count(CT) == (2, 1)


def test_seats_of_a_process_that_died_are_given_back_and_no_others(shared):
    first, second = shared
    first.take(CT)
    second.take(CT)
    second.take(PACS)

    assert first.clear(2) == 2
    assert first.count(CT) == (1, 1)
    assert first.clear(2) == 0


def test_threads_wait_for_one_another(shared):
    first, _ = shared
    entered, leave = threading.Event(), threading.Event()
    taken = []

    def hold():
        with first.alone():
            entered.set()
            leave.wait(10)
            taken.append("first")
            first.take(CT)

    def follow():
        with first.alone():
            taken.append("second")
            first.take(CT)

    threads = [threading.Thread(target=each) for each in (hold, follow)]
    threads[0].start()
    assert entered.wait(10)
    threads[1].start()
    leave.set()
    for each in threads:
        each.join(10)
    assert taken == ["first", "second"]
    assert first.count(CT) == (2, 2)


def _die_holding(descriptor, ready):
    seats = SharedSeats(descriptor, process=2)
    with seats.alone():
        seats.take(CT)
        ready.set()
        os._exit(1)


def test_a_lock_does_not_outlive_its_holder(shared):
    first, _ = shared
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    process = context.Process(target=_die_holding, args=(first.descriptor, ready))
    process.start()
    process.join(30)

    assert ready.is_set()
    with first.alone():
        assert first.count(CT) == (1, 1)
    assert first.clear(2) == 1
