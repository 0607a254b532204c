"""The embedded server is started again later and later while it ends again and again."""

from dicomnode.inference.restarts import Restarts


def test_the_pause_doubles_up_to_half_a_minute():
    restarts = Restarts()

    pauses = [restarts.count("was ended by SIGSEGV", ran_seconds=1) for _ in range(9)]

    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_a_loop_is_named_with_its_reason():
    restarts = Restarts()
    assert restarts.sentence == ""

    restarts.count("was ended by SIGKILL", ran_seconds=1)
    assert not restarts.is_loop
    assert restarts.sentence == (
        "the embedded inference server was ended by SIGKILL; it is started again after 0.5 s"
    )
    for _ in range(4):
        restarts.count("ended with status 1: no room", ran_seconds=1)

    assert restarts.is_loop
    assert restarts.sentence == (
        "the embedded inference server ended 5 times in a row, the last time it ended with "
        "status 1: no room; it is started again after 8 s"
    )


def test_a_good_while_ends_a_loop():
    restarts = Restarts()
    for _ in range(6):
        restarts.count("was ended by SIGSEGV", ran_seconds=1)

    assert restarts.count("was ended by SIGSEGV", ran_seconds=3600) == 0.5
    assert not restarts.is_loop
