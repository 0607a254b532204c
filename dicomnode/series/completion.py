"""When is a series complete?  A pure step function; whoever feeds it events does the rest.

Never while an association that touched it is open.  Then: at once if as many instances are there as
an archive says; after a short settle time if the association was released and the slices lie
without a gap; after the full quiet time otherwise; at the deadline in any case, or never, as
configured.
Times are seconds of a monotonic clock, given by the caller, so that a changed wall clock does no
harm.  No I/O, no clock, no thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

EndOfAssociation = Literal["released", "aborted", "lost"]
CloseReason = Literal["count", "contiguous", "quiet", "deadline"]


@dataclass(frozen=True, slots=True)
class InstanceStored:
    """An instance of the series is durable."""

    at: float
    association_id: str


@dataclass(frozen=True, slots=True)
class AssociationOpened:
    """An association began; it touches the series only once it brings an instance of it."""

    at: float
    association_id: str


@dataclass(frozen=True, slots=True)
class AssociationEnded:
    """An association ended (PS3.8 7.2, 7.3): released, aborted, or lost with its receiver."""

    at: float
    association_id: str
    how: EndOfAssociation


@dataclass(frozen=True, slots=True)
class TouchedElsewhere:
    """Another receiver brings instances of the series, or has brought some."""

    at: float


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The slices that are there were looked at, as `Survey` asked with the same number."""

    at: float
    number: int
    is_contiguous: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """An archive was asked, as `AskCount` asked with the same number.

    `expected` is its Number of Series Related Instances, None where it gave none; `total` is how
    many instances are there.
    """

    at: float
    number: int
    expected: int | None
    total: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""

    at: float


Event = (
    InstanceStored
    | AssociationOpened
    | AssociationEnded
    | TouchedElsewhere
    | Surveyed
    | Counted
    | Tick
)


@dataclass(frozen=True, slots=True)
class Survey:
    """Look whether the slices lie without a gap; answer with `Surveyed`."""

    number: int


@dataclass(frozen=True, slots=True)
class AskCount:
    """Ask the archive how many instances there are; answer with `Counted`."""

    number: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close the series: what has come so far makes a revision."""

    reason: CloseReason


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep the series from being analyzed until a person says so, or another instance comes."""

    reason: str


Action = Survey | AskCount | Close | Hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the pipeline wants.

    Attributes
    ----------
    quiet_seconds : float
        How long no instance must have come.  An association that breaks off starts it anew: its
        sender will mostly try again.
    deadline_seconds : float
        After the first instance; then the series is closed or held even if an association is open.
    settle_seconds : float or None
        How long to wait after the last release where slices lie without a gap; None: never ask.
    asks_count : bool
        Whether an archive is to be asked.
    at_deadline : {"proceed", "hold"}
    """

    quiet_seconds: float
    deadline_seconds: float
    settle_seconds: float | None = None
    asks_count: bool = False
    at_deadline: Literal["proceed", "hold"] = "proceed"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesState:
    """What is known of a series between two events.

    Attributes
    ----------
    first_instance_at : float or None
        When the first instance of the revision in the making came; None while there is none.
    quiet_since : float
        When the last instance came, or an association that touched the series broke off.
    released_at : float or None
        When the last association was released, if it was; None after a break or an instance.
    open_associations : frozenset of str
        Those that brought an instance and are open.
    ended_associations : frozenset of str
        Those that ended; a report of an instance may come after the report of the end.
    asked : int
        Number of the last question; answers to earlier ones are out of date.
    is_contiguous : bool
    is_waiting_for_count : bool
    lacking : int or None
        How many instances the archive has beyond those that are here; None where unknown.
    """

    first_instance_at: float | None = None
    quiet_since: float = float("-inf")
    released_at: float | None = None
    open_associations: frozenset[str] = frozenset()
    ended_associations: frozenset[str] = frozenset()
    asked: int = 0
    is_contiguous: bool = False
    is_waiting_for_count: bool = False
    lacking: int | None = None


def resume(at: float) -> SeriesState:
    """Return the state of a series that a restart found open: all its associations are gone."""
    return SeriesState(first_instance_at=at, quiet_since=at)


def step(
    state: SeriesState, event: Event, limits: Limits
) -> tuple[SeriesState, tuple[Action, ...]]:
    """Take in one event.  Only a `Tick` closes: what acts on `Close` then has one place.

    After any other event ask `next_check`: it may name a time that has passed already.

    Returns
    -------
    SeriesState
        After `Close` or `Hold` it is that of a series without pending instances: one that comes
        later begins the next revision.
    tuple of Action
        After a `Tick` at most one; otherwise what is to be found out.
    """
    if not isinstance(event, Tick):
        return _with_questions(state, _take_in(state, event), event, limits)
    due = _due(state, limits)
    if due is None or event.at < due[0]:
        return state, ()
    return replace(state, first_instance_at=None, lacking=None), (due[1],)


def next_check(state: SeriesState, limits: Limits) -> float | None:
    """Return when a `Tick` is due if nothing else happens; None if nothing is pending."""
    due = _due(state, limits)
    return None if due is None else due[0]


def _take_in(state: SeriesState, event: Event) -> SeriesState:
    match event:
        case InstanceStored(at=at, association_id=association):
            first = at if state.first_instance_at is None else state.first_instance_at
            return replace(
                _outdated(state),
                first_instance_at=first,
                quiet_since=max(state.quiet_since, at),
                open_associations=state.open_associations
                | ({association} - state.ended_associations),
            )
        case AssociationEnded(at=at, association_id=association, how=how):
            touched = association in state.open_associations
            broke_off = how != "released" and touched
            return replace(
                state,
                quiet_since=max(state.quiet_since, at) if broke_off else state.quiet_since,
                released_at=None if broke_off else at if touched else state.released_at,
                open_associations=state.open_associations - {association},
                ended_associations=state.ended_associations | {association},
            )
        case TouchedElsewhere(at=at):
            return replace(_outdated(state), quiet_since=max(state.quiet_since, at))
        case Surveyed(number=number, is_contiguous=is_contiguous) if number == state.asked:
            return replace(state, is_contiguous=is_contiguous)
        case Counted(number=number, expected=expected, total=total) if number == state.asked:
            lacking = None if expected is None else max(0, expected - total)
            return replace(state, is_waiting_for_count=False, lacking=lacking)
        case _:
            return state


def _outdated(state: SeriesState) -> SeriesState:
    """Forget what was found out: there is another instance."""
    return replace(
        state, released_at=None, is_contiguous=False, is_waiting_for_count=False, lacking=None
    )


def _with_questions(
    before: SeriesState, state: SeriesState, event: Event, limits: Limits
) -> tuple[SeriesState, tuple[Action, ...]]:
    """Ask, when the last association that touched the series has been released."""
    is_released = (
        isinstance(event, AssociationEnded)
        and event.association_id in before.open_associations
        and not state.open_associations
        and state.released_at is not None
        and state.first_instance_at is not None
    )
    if not is_released or not (limits.asks_count or limits.settle_seconds is not None):
        return state, ()
    number = state.asked + 1
    asked = replace(state, asked=number, is_waiting_for_count=limits.asks_count)
    survey = (Survey(number),) if limits.settle_seconds is not None else ()
    return asked, (*survey, *((AskCount(number),) if limits.asks_count else ()))


def _due(state: SeriesState, limits: Limits) -> tuple[float, Close | Hold] | None:
    """Say when what is to be done if nothing else happens."""
    if state.first_instance_at is None:
        return None
    deadline = state.first_instance_at + limits.deadline_seconds
    at_end: Close | Hold = Close("deadline")
    if limits.at_deadline == "hold":
        at_end = Hold(_why_incomplete(state))
    found: list[tuple[float, Close | Hold]] = [(deadline, at_end)]
    if not state.open_associations:
        if state.lacking == 0:
            found.append((state.quiet_since, Close("count")))
        elif state.lacking is None:
            found.append((state.quiet_since + limits.quiet_seconds, Close("quiet")))
            if (
                state.is_contiguous
                and not state.is_waiting_for_count
                and state.released_at is not None
                and limits.settle_seconds is not None
            ):
                settled = state.released_at + limits.settle_seconds
                found.append((settled, Close("contiguous")))
    return min(found, key=lambda each: each[0])


def _why_incomplete(state: SeriesState) -> str:
    if state.lacking:
        return f"{state.lacking} instances lacking"
    return "association open" if state.open_associations else "not quiet"
