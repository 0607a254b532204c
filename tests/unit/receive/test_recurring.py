"""Which of many like events are worth a line."""

from dicomnode.receive.recurring import Recurring


def test_the_first_few_of_a_period_are_told_then_counted():
    now = [100.0]
    recurring = Recurring(said_per_period=2, period_seconds=60, clock=lambda: now[0])

    assert [recurring.ask("a") for _ in range(5)] == [0, 0, None, None, None]
    assert recurring.ask("b") == 0

    now[0] = 160.0
    assert [recurring.ask("a") for _ in range(3)] == [3, 0, None]


def test_kinds_that_a_peer_makes_up_do_not_pile_up():
    recurring = Recurring(most_kinds=3)

    for number in range(1000):
        recurring.ask(str(number))

    assert len(recurring._seen) == 3
