import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomnode.errors import InferenceCancelled, InferenceTimeout
from dicomnode.inference.turns import Asker, Gates


def test_a_turn_comes_when_another_call_ends():
    gates, inside, leave = Gates(), threading.Event(), threading.Event()

    def hold() -> None:
        with gates.enter("net", 1, seconds=5):
            inside.set()
            leave.wait(5)

    def follow() -> bool:
        with gates.enter("net", 1, seconds=5):
            return leave.is_set()

    with ThreadPoolExecutor(2) as pool:
        pool.submit(hold)
        assert inside.wait(5)
        second = pool.submit(follow)
        leave.set()

        assert second.result(5)


def test_waiting_for_a_turn_ends_at_its_deadline_and_other_models_are_free():
    gates = Gates()
    with gates.enter("net", 1, seconds=1):
        with (
            pytest.raises(InferenceTimeout, match=r"busy with 1 calls of this node for 0\.1 s"),
            gates.enter("net", 1, seconds=0.1),
        ):
            pass
        with gates.enter("other", 1, seconds=0.1):
            pass


def test_waiting_for_a_turn_ends_on_cancellation():
    gates = Gates()
    with (
        gates.enter("net", 1, seconds=1),
        pytest.raises(InferenceCancelled),
        gates.enter("net", 1, seconds=30, cancelled=lambda: True),
    ):
        pass


def test_a_call_that_fails_gives_its_turn_back():
    gates = Gates()
    for _ in range(3):
        with pytest.raises(KeyError), gates.enter("net", 1, seconds=0.1):
            raise KeyError


def test_turns_come_in_the_order_of_asking():
    gates, order = Gates(), []

    def ask(number: int) -> None:
        with gates.enter("net", 1, seconds=10):
            order.append(number)

    with ThreadPoolExecutor(4) as pool, gates.enter("net", 1, seconds=1):
        for number in range(4):
            pool.submit(ask, number)
            await_queue(gates, number + 1)
    assert order == [0, 1, 2, 3]


def await_queue(gates: Gates, count: int) -> None:
    """Wait until so many calls stand in the queue."""
    deadline = time.monotonic() + 5
    while len(gates._queues["net"]) < count:
        assert time.monotonic() < deadline
        threading.Event().wait(0.001)


class OneSeat:
    """A seat that another process holds until a test says otherwise."""

    def __init__(self, *, free: bool = False):
        self.free = free
        self.left: list[str] = []
        self.given_back: list[str] = []

    def take(self, _model: str, _limit: int) -> str | None:
        if not self.free:
            return None
        self.free = False
        return "seat"

    def leave(self, model: str) -> None:
        self.left.append(model)

    def give_back(self, seat: str) -> None:
        self.given_back.append(seat)
        self.free = True


def test_a_seat_is_held_for_the_block_and_given_back_also_after_an_error():
    seats = OneSeat(free=True)
    gates = Gates(seats)

    with pytest.raises(KeyError), gates.enter("net", 2, seconds=1):
        raise KeyError(seats.free)

    assert (seats.given_back, seats.left) == (["seat"], [])


@pytest.mark.parametrize(
    ("seconds", "cancelled", "error"),
    [(0.1, None, InferenceTimeout), (30, lambda: True, InferenceCancelled)],
)
def test_who_waits_no_longer_leaves_the_queue_for_a_seat(seconds, cancelled, error):
    seats = OneSeat()
    gates = Gates(seats)

    with pytest.raises(error), gates.enter("net", 2, seconds=seconds, cancelled=cancelled):
        pass

    assert (seats.left, seats.given_back) == (["net"], [])
    seats.free = True
    with gates.enter("net", 2, seconds=1):
        pass


def test_a_job_says_once_that_all_of_it_waits_and_when_that_is_over(monkeypatch):
    monkeypatch.setattr("dicomnode.inference.turns._TOLD_SECONDS", 0.05)
    said: list[str | None] = []
    told = threading.Event()

    def tell(sentence: str | None) -> None:
        said.append(sentence)
        told.set()

    seats = OneSeat()
    gates, asker = Gates(seats), Asker(tell)

    def ask() -> None:
        with gates.enter("net", 2, seconds=10, asker=asker):
            pass

    with ThreadPoolExecutor(2) as pool:
        for _ in range(2):
            pool.submit(ask)
        assert told.wait(5)
        seats.free = True

    assert said == [
        "waits for its turn: model 'net' is busy with 2 calls of this node",
        None,
    ]


def test_a_job_with_a_call_under_way_does_not_wait(monkeypatch):
    monkeypatch.setattr("dicomnode.inference.turns._TOLD_SECONDS", 0.0)
    said: list[str | None] = []
    gates, asker = Gates(), Asker(said.append)

    with (
        gates.enter("net", 1, seconds=1, asker=asker),
        pytest.raises(InferenceTimeout),
        gates.enter("net", 1, seconds=0.1, asker=asker),
    ):
        pass

    assert said == []
