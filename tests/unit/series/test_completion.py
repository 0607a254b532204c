import pytest

from dicomnode.series.completion import (
    AskCount,
    AssociationEnded,
    AssociationOpened,
    Close,
    Counted,
    Hold,
    InstanceStored,
    Limits,
    SeriesState,
    Survey,
    Surveyed,
    Tick,
    TouchedElsewhere,
    next_check,
    resume,
    step,
)

LIMITS = Limits(quiet_seconds=5.0, deadline_seconds=60.0)
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
        state, actions = step(state, event, LIMITS)
        heard.append((event, actions, next_check(state, LIMITS)))

    assert transcript == heard


def test_a_series_found_open_after_a_restart_waits_the_quiet_time():
    state = resume(1000.0)

    assert next_check(state, LIMITS) == 1005.0
    assert step(state, Tick(1004.0), LIMITS) == (state, ())
    assert step(state, Tick(1005.0), LIMITS)[1] == (QUIET,)


def test_a_step_leaves_the_former_state_as_it_was():
    before = SeriesState()

    after, _ = step(before, InstanceStored(1, "a"), LIMITS)

    assert before == SeriesState()
    assert after != before


EAGER = Limits(quiet_seconds=5.0, deadline_seconds=60.0, settle_seconds=1.0)
COUNTING = Limits(quiet_seconds=5.0, deadline_seconds=60.0, settle_seconds=1.0, asks_count=True)
HOLDING = Limits(
    quiet_seconds=5.0,
    deadline_seconds=60.0,
    settle_seconds=1.0,
    asks_count=True,
    at_deadline="hold",
)
ASKED = (Survey(1), AskCount(1))

WITH_QUESTIONS = {
    "a short settle time after the release where slices lie without a gap": (
        EAGER,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), (Survey(1),), 5),
            (Surveyed(1.05, 1, is_contiguous=True), (), 2),
            (Tick(1.9), (), 2),
            (Tick(2), (Close("contiguous"),), None),
        ],
    ),
    "the full quiet time where there is a gap": (
        EAGER,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), (Survey(1),), 5),
            (Surveyed(1.05, 1, is_contiguous=False), (), 5),
            (Tick(4.9), (), 5),
            (Tick(5), (QUIET,), None),
        ],
    ),
    "no question after an abort": (
        EAGER,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "aborted"), (), 6),
            (Tick(6), (QUIET,), None),
        ],
    ),
    "an answer that an instance has overtaken does not count": (
        EAGER,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), (Survey(1),), 5),
            (InstanceStored(1.01, "b"), (), 60),
            (AssociationEnded(1.02, "b", "released"), (Survey(2),), 6.01),
            (Surveyed(1.05, 1, is_contiguous=True), (), 6.01),
            (Surveyed(1.06, 2, is_contiguous=True), (), 2.02),
        ],
    ),
    "two associations: asked once the last is released": (
        EAGER,
        [
            (InstanceStored(0, "a"), (), 60),
            (InstanceStored(0, "b"), (), 60),
            (AssociationEnded(1, "a", "released"), (), 60),
            (AssociationEnded(2, "b", "released"), (Survey(1),), 5),
            (Surveyed(2, 1, is_contiguous=True), (), 3),
        ],
    ),
    "contiguous, and another association opens within the settle time": (
        EAGER,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), (Survey(1),), 5),
            (Surveyed(1, 1, is_contiguous=True), (), 2),
            (InstanceStored(1.5, "b"), (), 60),
            (Tick(2), (), 60),
        ],
    ),
    "at once when the expected count is there": (
        COUNTING,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), ASKED, 5),
            (Counted(1.1, 1, expected=1, total=1), (), 0),
            (Tick(1.1), (Close("count"),), None),
        ],
    ),
    "more than expected is complete, too": (
        COUNTING,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), ASKED, 5),
            (Counted(1.1, 1, expected=7, total=9), (), 0),
        ],
    ),
    "neither gaplessness nor quiet completes a series that lacks instances": (
        COUNTING,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), ASKED, 5),
            (Surveyed(1.1, 1, is_contiguous=True), (), 5),
            (Counted(1.2, 1, expected=9, total=7), (), 60),
            (Tick(30), (), 60),
            (InstanceStored(31, "b"), (), 60),
            (AssociationEnded(32, "b", "released"), (Survey(2), AskCount(2)), 36),
            (Counted(32.1, 2, expected=9, total=9), (), 31),
            (Tick(32.1), (Close("count"),), None),
        ],
    ),
    "an archive that does not say leaves it to the slices": (
        COUNTING,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), ASKED, 5),
            (Surveyed(1.1, 1, is_contiguous=True), (), 5),
            (Counted(3, 1, expected=None, total=7), (), 2),
            (Tick(3), (Close("contiguous"),), None),
        ],
    ),
    "an archive that never answers costs the quiet time, no more": (
        COUNTING,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), ASKED, 5),
            (Surveyed(1.1, 1, is_contiguous=True), (), 5),
            (Tick(5), (QUIET,), None),
        ],
    ),
    "held at the deadline with the reason": (
        HOLDING,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), ASKED, 5),
            (Counted(1.2, 1, expected=9, total=7), (), 60),
            (Tick(60), (Hold("2 instances lacking"),), None),
            (Tick(100), (), None),
            (InstanceStored(200, "b"), (), 260),
        ],
    ),
    "held with an open association": (
        HOLDING,
        [
            (InstanceStored(0, "a"), (), 60),
            (Tick(60), (Hold("association open"),), None),
        ],
    ),
    "what another receiver brings starts the quiet time anew": (
        EAGER,
        [
            (InstanceStored(0, "a"), (), 60),
            (AssociationEnded(1, "a", "released"), (Survey(1),), 5),
            (Surveyed(1, 1, is_contiguous=True), (), 2),
            (TouchedElsewhere(1.5), (), 6.5),
            (Tick(6.5), (QUIET,), None),
        ],
    ),
}


@pytest.mark.parametrize(
    ("limits", "transcript"), WITH_QUESTIONS.values(), ids=WITH_QUESTIONS.keys()
)
def test_transcript_with_questions(limits, transcript):
    state = SeriesState()
    heard = []

    for event, _, _ in transcript:
        state, actions = step(state, event, limits)
        heard.append((event, actions, next_check(state, limits)))

    assert transcript == heard
