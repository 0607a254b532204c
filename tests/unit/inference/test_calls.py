import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomnode.errors import InferenceCancelled, InferenceTimeout
from dicomnode.inference.calls import Deaths, Gates


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


def test_an_end_of_a_server_counts_once():
    deaths = Deaths()

    assert [deaths.is_first(at) for at in (100.0, 100.5, 109.0, 110.5, 111.0)] == [
        *(True, False, False, True, False)
    ]
