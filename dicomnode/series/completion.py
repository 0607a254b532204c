"""When is a series complete?  A pure step function; whoever feeds it events does the rest.

A series is closed once no instance has come for a while and no association that brought one is
open, or at its deadline.  Times are seconds of a monotonic clock, given by the caller, so that a
changed wall clock does no harm.  No I/O, no clock, no thread.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

EndOfAssociation = Literal["released", "aborted", "lost"]
CloseReason = Literal["quiet", "deadline"]


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
class Tick:
    """Time passed."""

    at: float


Event = InstanceStored | AssociationOpened | AssociationEnded | Tick


@dataclass(frozen=True, slots=True)
class Close:
    """Close the series: what has come so far makes a revision."""

    reason: CloseReason


Action = Close


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesState:
    """What is known of a series between two events.

    Attributes
    ----------
    first_instance_at : float or None
        When the first instance of the revision in the making came; None while there is none.
    quiet_since : float
        When the last instance came, or an association that touched the series broke off.
    open_associations : frozenset of str
        Those that brought an instance and are open.
    ended_associations : frozenset of str
        Those that ended; a report of an instance may come after the report of the end.
    """

    first_instance_at: float | None = None
    quiet_since: float = float("-inf")
    open_associations: frozenset[str] = frozenset()
    ended_associations: frozenset[str] = frozenset()


def resume(at: float) -> SeriesState:
    """Return the state of a series that a restart found open: all its associations are gone."""
    return SeriesState(first_instance_at=at, quiet_since=at)


def step(
    state: SeriesState, event: Event, *, quiet_seconds: float, deadline_seconds: float
) -> tuple[SeriesState, tuple[Action, ...]]:
    """Take in one event.  Only a `Tick` closes: what acts on `Close` then has one place.

    After any other event ask `next_check`: it may name a time that has passed already.

    Parameters
    ----------
    state : SeriesState
    event : InstanceStored, AssociationOpened, AssociationEnded or Tick
    quiet_seconds : float
        How long no instance must have come.  An association that breaks off starts it anew: its
        sender will mostly try again.
    deadline_seconds : float
        After the first instance; then the series is closed even if an association is open.

    Returns
    -------
    SeriesState
        After `Close` it is that of a series without pending instances: one that comes later
        begins the next revision.
    tuple of Close
        At most one.
    """
    if not isinstance(event, Tick):
        return _take_in(state, event), ()
    reason = _reason_to_close(state, event.at, quiet_seconds, deadline_seconds)
    if reason is None:
        return state, ()
    return replace(state, first_instance_at=None), (Close(reason=reason),)


def next_check(
    state: SeriesState, *, quiet_seconds: float, deadline_seconds: float
) -> float | None:
    """Return when a `Tick` is due if nothing else happens; None if nothing is pending."""
    if state.first_instance_at is None:
        return None
    deadline = state.first_instance_at + deadline_seconds
    if state.open_associations:
        return deadline
    return min(state.quiet_since + quiet_seconds, deadline)


def _take_in(
    state: SeriesState, event: InstanceStored | AssociationOpened | AssociationEnded
) -> SeriesState:
    match event:
        case InstanceStored(at=at, association_id=association):
            first = at if state.first_instance_at is None else state.first_instance_at
            return replace(
                state,
                first_instance_at=first,
                quiet_since=max(state.quiet_since, at),
                open_associations=state.open_associations
                | ({association} - state.ended_associations),
            )
        case AssociationEnded(at=at, association_id=association, how=how):
            broke_off = how != "released" and association in state.open_associations
            return replace(
                state,
                quiet_since=max(state.quiet_since, at) if broke_off else state.quiet_since,
                open_associations=state.open_associations - {association},
                ended_associations=state.ended_associations | {association},
            )
        case AssociationOpened():
            return state


def _reason_to_close(
    state: SeriesState, at: float, quiet_seconds: float, deadline_seconds: float
) -> CloseReason | None:
    if state.first_instance_at is None:
        return None
    if not state.open_associations and at >= state.quiet_since + quiet_seconds:
        return "quiet"
    if at >= state.first_instance_at + deadline_seconds:
        return "deadline"
    return None
