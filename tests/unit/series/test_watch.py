"""What a series is told of the instances that come: less than all, and nothing is missed."""

from functools import reduce

import hypothesis.strategies as st
from hypothesis import given

from dicomnode.series.completion import (
    AssociationEnded,
    InstanceStored,
    Limits,
    SeriesState,
    step,
)
from dicomnode.series.watch import News, thin_out

LIMITS = Limits(quiet_seconds=2.0, deadline_seconds=60.0, settle_seconds=1.0)
SERIES = ("chest", "1.2.3"), ("head", "1.2.4")


def stored(at, *, series=SERIES[0], association="a", opens=True):
    event = InstanceStored(at=at, association_id=association)
    return News(series, event, instance_count=int(at) if opens else None, opens=opens)


@st.composite
def happenings(draw):
    """Times go up; runs of instances are likely."""
    made = []
    for at in range(draw(st.integers(0, 12))):
        series = draw(st.sampled_from(SERIES))
        association = draw(st.sampled_from("ab"))
        if draw(st.integers(0, 5)):
            opens = draw(st.integers(0, 3)) > 0
            made.append(stored(float(at), series=series, association=association, opens=opens))
        else:
            ended = AssociationEnded(at=float(at), association_id=association, how="released")
            made.append(News(series, ended))
    return made


def states(news):
    """Each series at the end, and how many instances it was said to hold."""
    counts = {}
    for each in news:
        if each.instance_count is not None:
            counts[each.key] = max(counts.get(each.key, 0), each.instance_count)
    return counts, {
        key: reduce(
            lambda state, each: step(state, each.event, LIMITS)[0],
            [each for each in news if each.key == key],
            SeriesState(),
        )
        for key in SERIES
    }


def test_of_a_run_of_instances_the_first_and_the_last_are_told():
    run = [stored(float(at)) for at in range(300)]

    assert thin_out(run) == [run[0], run[-1]]


@given(happenings())
def test_a_series_learns_the_same_as_from_all_of_them(news):
    assert states(thin_out(news)) == states(news)
