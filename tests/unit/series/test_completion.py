import pytest

from dicomnode.series.completion import (
    AssociationEnded,
    AssociationOpened,
    Close,
    InstanceStored,
    SeriesState,
    Tick,
    next_check,
    resume,
    step,
)

LIMITS = {"quiet_seconds": 5.0, "deadline_seconds": 60.0}
QUIET = Close("quiet")
DEADLINE = Close("deadline")

# Each transcript is a list of (event, expected actions, expected next check).
TRANSCRIPTS = {
    "quiet after the last instance of a released association": [
        (AssociationOpened(0, "a"), (), None),
        (InstanceStored(1, "a"), (), 61),
        (InstanceStored(3, "a"), (), 61),
        (AssociationEnded(4, "a", "released"), (), 8),
        (Tick(7.999), (), 8),
        (Tick(8), (QUIET,), None),
    ],
    "never while an association that touched it is open": [
        (InstanceStored(0, "a"), (), 60),
        (Tick(30), (), 60),
        (AssociationEnded(40, "a", "released"), (), 5),
        (Tick(40), (QUIET,), None),
    ],
    "except at the deadline": [
        (InstanceStored(0, "a"), (), 60),
        (InstanceStored(58, "a"), (), 60),
        (Tick(59.9), (), 60),
        (Tick(60), (DEADLINE,), None),
    ],
    "the deadline also ends a trickle of associations": [
        (InstanceStored(0, "a"), (), 60),
        (AssociationEnded(1, "a", "released"), (), 5),
        (InstanceStored(4, "b"), (), 60),
        (AssociationEnded(58, "b", "released"), (), 9),
        (InstanceStored(59, "c"), (), 60),
        (AssociationEnded(59, "c", "released"), (), 60),
        (Tick(60), (DEADLINE,), None),
    ],
    "two associations: both must have ended": [
        (InstanceStored(0, "a"), (), 60),
        (InstanceStored(1, "b"), (), 60),
        (AssociationEnded(2, "a", "released"), (), 60),
        (Tick(20), (), 60),
        (AssociationEnded(21, "b", "released"), (), 6),
        (Tick(21), (QUIET,), None),
    ],
    "an association that brought nothing does not hold the series": [
        (InstanceStored(0, "a"), (), 60),
        (AssociationOpened(1, "b"), (), 60),
        (AssociationEnded(2, "a", "released"), (), 5),
        (Tick(5), (QUIET,), None),
    ],
    "an abort starts the quiet time anew": [
        (InstanceStored(0, "a"), (), 60),
        (AssociationEnded(30, "a", "aborted"), (), 35),
        (Tick(34), (), 35),
        (Tick(35), (QUIET,), None),
    ],
    "an abort of a stranger does not": [
        (InstanceStored(0, "a"), (), 60),
        (AssociationEnded(1, "a", "released"), (), 5),
        (AssociationEnded(4, "b", "aborted"), (), 5),
        (Tick(5), (QUIET,), None),
    ],
    "an instance reported after the end of its association": [
        (AssociationEnded(1, "a", "released"), (), None),
        (InstanceStored(2, "a"), (), 7),
        (Tick(7), (QUIET,), None),
    ],
    "an instance that comes before a late tick is part of the series": [
        (InstanceStored(0, "a"), (), 60),
        (AssociationEnded(1, "a", "released"), (), 5),
        (InstanceStored(6, "b"), (), 60),
        (AssociationEnded(6, "b", "released"), (), 11),
        (Tick(6), (), 11),
        (Tick(11), (QUIET,), None),
    ],
    "closing happens once; a late instance begins anew": [
        (InstanceStored(0, "a"), (), 60),
        (AssociationEnded(0, "a", "released"), (), 5),
        (Tick(5), (QUIET,), None),
        (Tick(100), (), None),
        (InstanceStored(200, "b"), (), 260),
        (AssociationEnded(201, "b", "released"), (), 205),
        (Tick(205), (QUIET,), None),
    ],
    "an association open over the deadline still holds the next revision": [
        (InstanceStored(0, "a"), (), 60),
        (Tick(60), (DEADLINE,), None),
        (InstanceStored(61, "a"), (), 121),
        (Tick(80), (), 121),
        (AssociationEnded(81, "a", "released"), (), 66),
        (Tick(81), (QUIET,), None),
    ],
    "reports out of order do not shorten the quiet time": [
        (InstanceStored(10, "a"), (), 70),
        (InstanceStored(9, "a"), (), 70),
        (AssociationEnded(10, "a", "released"), (), 15),
        (Tick(14), (), 15),
        (Tick(15), (QUIET,), None),
    ],
}


@pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())
def test_transcript(transcript):
    state = SeriesState()
    heard = []

    for event, _, _ in transcript:
        state, actions = step(state, event, **LIMITS)
        heard.append((event, actions, next_check(state, **LIMITS)))

    assert transcript == heard


def test_a_series_found_open_after_a_restart_waits_the_quiet_time():
    state = resume(1000.0)

    assert next_check(state, **LIMITS) == 1005.0
    assert step(state, Tick(1004.0), **LIMITS) == (state, ())
    assert step(state, Tick(1005.0), **LIMITS)[1] == (QUIET,)


def test_a_step_leaves_the_former_state_as_it_was():
    before = SeriesState()

    after, _ = step(before, InstanceStored(1, "a"), **LIMITS)

    assert before == SeriesState()
    assert after != before
