"""Asking what may hang."""

import threading

import pytest

from dicomnode.deadlines import Question


def test_the_answer_comes_back():
    assert Question(lambda: 7, name="seven").answer(5) == 7


def test_a_late_answer_is_not_waited_for_and_not_asked_for_twice():
    release, asked = threading.Event(), []

    def ask():
        asked.append(1)
        release.wait(10)
        return "late"

    question = Question(ask, name="late")
    with pytest.raises(TimeoutError):
        question.answer(0.01)
    joined = question.begin()
    release.set()

    assert joined.result(5) == "late"
    assert len(asked) == 1


def test_it_is_asked_anew_once_it_has_answered():
    answers = iter((1, 2))
    question = Question(lambda: next(answers), name="twice")

    assert [question.answer(5), question.answer(5)] == [1, 2]


def test_what_goes_wrong_is_raised_where_the_answer_is_waited_for():
    def ask():
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        Question(ask, name="gone").answer(5)
