"""How failures to sign in slow further tries down."""

from __future__ import annotations

import pytest

from dicomnode.console.throttle import WINDOW_SECONDS, Throttle


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def throttle(clock):
    return Throttle(clock=clock)


def test_five_failures_make_a_name_wait_at_that_address_alone(throttle):
    for _ in range(5):
        assert throttle.wait_seconds("anna", "192.0.2.1") == 0
        throttle.fail("anna", "192.0.2.1")

    assert throttle.wait_seconds("anna", "192.0.2.1") == WINDOW_SECONDS
    assert throttle.wait_seconds("anna", "192.0.2.2") == 0
    assert throttle.wait_seconds("victor", "192.0.2.1") == 0


def test_the_wait_ends_as_failures_grow_old(throttle, clock):
    for _ in range(5):
        throttle.fail("anna", "192.0.2.1")
        clock.now += 10

    assert throttle.wait_seconds("anna", "192.0.2.1") == WINDOW_SECONDS - 50
    clock.now += WINDOW_SECONDS - 50
    assert throttle.wait_seconds("anna", "192.0.2.1") == 0


def test_an_address_that_tries_many_names_waits(throttle):
    for number in range(20):
        throttle.fail(f"name-{number}", "192.0.2.1")

    assert throttle.wait_seconds("anna", "192.0.2.1") > 0
    assert throttle.wait_seconds("anna", "192.0.2.2") == 0


def test_a_name_that_is_tried_from_many_addresses_waits(throttle):
    for number in range(50):
        throttle.fail("anna", f"192.0.2.{number}")

    assert throttle.wait_seconds("anna", "198.51.100.1") > 0


def test_success_forgets_the_failures_of_that_name_there(throttle):
    for _ in range(4):
        throttle.fail("anna", "192.0.2.1")
    throttle.succeed("anna", "192.0.2.1")
    throttle.fail("anna", "192.0.2.1")

    assert throttle.wait_seconds("anna", "192.0.2.1") == 0


def test_many_addresses_do_not_fill_the_memory(throttle):
    for number in range(30_000):
        throttle.fail("anna", f"2001:db8::{number:x}")

    assert len(throttle._failures) <= 20_003
