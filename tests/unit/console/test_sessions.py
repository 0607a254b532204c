"""Sessions: how long they last, and that the database alone opens none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from dicomnode.console.sessions import Sessions
from dicomnode.database.tables import console_session


class Clock:
    now = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sessions(database, clock):
    return Sessions(database, longest=timedelta(hours=12), idle=timedelta(minutes=60), clock=clock)


def test_a_session_is_found_by_its_secret_alone(sessions):
    secret = sessions.open("anna")

    assert sessions.find(secret) == "anna"
    assert sessions.find(secret[:-1]) is None
    assert sessions.find("") is None


def test_the_database_holds_no_secret(sessions, database):
    secret = sessions.open("anna")

    with database.begin() as transaction:
        [row] = transaction.execute(sa.select(console_session)).all()

    assert secret not in str(row)
    assert sessions.find(row.digest) is None


def test_an_idle_session_is_over(sessions, clock):
    secret = sessions.open("anna")
    clock.now += timedelta(minutes=59)
    assert sessions.find(secret) == "anna"
    clock.now += timedelta(minutes=59)
    assert sessions.find(secret) == "anna", "it was used meanwhile"
    clock.now += timedelta(minutes=61)

    assert sessions.find(secret) is None


def test_no_session_lasts_for_ever(sessions, clock):
    secret = sessions.open("anna")
    for _ in range(24):
        assert sessions.find(secret) == "anna"
        clock.now += timedelta(minutes=30, seconds=1)

    assert sessions.find(secret) is None


def test_what_is_over_is_removed_when_somebody_signs_in(sessions, database, clock):
    sessions.open("anna")
    clock.now += timedelta(hours=13)

    sessions.open("victor")

    with database.begin() as transaction:
        assert [row.name for row in transaction.execute(sa.select(console_session))] == ["victor"]
