"""A process is asked to end by a signal or from a thread, and hears of it whenever it comes."""

import signal
import threading

import pytest

from dicomnode.stopping import StopRequest


@pytest.fixture
def on_alarm():
    """Set what is done at SIGALRM in this test."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handle: signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_request_that_was_made_before_is_not_waited_for():
    stop = StopRequest()
    stop.make()
    stop.make()

    stop.wait()


def test_a_thread_may_ask():
    stop = StopRequest()
    threading.Timer(0.05, stop.make).start()

    stop.wait()


def test_the_handler_of_a_signal_may_ask_whoever_waits(on_alarm):
    # At every moment of the wait: an event, whose lock its waiter takes, can stand still for good.
    for microseconds in range(1, 400, 7):
        stop = StopRequest()
        on_alarm(lambda *_, stop=stop: stop.make())
        signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)

        stop.wait()
