"""A database that is away is told from one that refuses, and waited for."""

import pytest
import sqlalchemy as sa

from dicomnode.database import is_away, outlast

GONE = sa.exc.OperationalError("select 1", {}, OSError("server closed the connection"))
REFUSED = sa.exc.IntegrityError("insert", {}, ValueError("not unique"))
CUT_OFF = sa.exc.InternalError("select 1", {}, OSError("cut"), connection_invalidated=True)


@pytest.mark.parametrize(
    ("error", "away"),
    [(GONE, True), (CUT_OFF, True), (REFUSED, False), (RuntimeError("ours"), False)],
    ids=["gone", "cut off", "refused", "ours"],
)
def test_what_a_later_attempt_can_mend_is_an_absence(error, away):
    assert is_away(error) is away


def test_what_finds_the_database_away_is_done_again_until_it_is_back():
    answers = [GONE, CUT_OFF, "done"]
    told = []

    def ask():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert outlast(ask, on_away=told.append) == "done"
    assert told == [GONE, CUT_OFF]


def test_what_the_database_refuses_is_not_done_again():
    told = []

    def ask():
        raise REFUSED

    with pytest.raises(sa.exc.IntegrityError):
        outlast(ask, on_away=told.append)
    assert told == []
