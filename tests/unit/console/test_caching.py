"""Answers that hold for a while."""

from __future__ import annotations

from dicomnode.console.caching import Cached


def test_an_answer_holds_for_its_time_and_no_longer():
    now = [100.0]
    asked = []
    cached = Cached(lambda: asked.append(now[0]) or len(asked), seconds=3, clock=lambda: now[0])

    assert (cached(), cached()) == (1, 1)
    now[0] += 2.5
    assert cached() == 1
    now[0] += 1.0
    assert cached() == 2
    assert asked == [100.0, 103.5]
