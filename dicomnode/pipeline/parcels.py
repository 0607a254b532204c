"""Which files a delivery is made of, and what is tried in place of one that is refused for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicomnode.config import Destination
from dicomnode.database.delivery_rows import AttemptRow
from dicomnode.database.job_rows import JobRow
from dicomnode.errors import InstanceUnreadable, ResultError, SendError
from dicomnode.pipeline import objects
from dicomnode.pipeline.objects import (
    WITHOUT_SEG,
    allowed_fallbacks,
    captures_for,
    files_for,
    sr_file,
)
from dicomnode.results.simpler import encode_simpler_report
from dicomnode.send.outcome import StoreOutcome
from dicomnode.spool.part10 import read_file_meta
from dicomnode.spool.results import Outbox
from dicomnode.standard.sop_classes import COMPREHENSIVE_SR, ENHANCED_SR

SIMPLER_REPORTS: Final = {"comprehensive-sr": COMPREHENSIVE_SR, "enhanced-sr": ENHANCED_SR}
"""SOP class by kind, of reports that are made when the fuller one is refused."""

_RUNGS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "seg": (("sr", "sc"),),
    "sr": (("comprehensive-sr",), ("enhanced-sr",), ("sc",)),
    "comprehensive-sr": (("enhanced-sr",), ("sc",)),
    "enhanced-sr": (("sc",),),
}
"""What stands for an object that is refused: the first group of which something is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """One file to be delivered.

    Attributes
    ----------
    name : str
        Of the file, as the job has it.
    path : Path
    sop_class_uid, sop_instance_uid : str
        Empty for what is no DICOM file.
    """

    name: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(slots=True)
class Plan:
    """What a destination is to get, what became of it, and what was tried instead.

    Attributes
    ----------
    wanted : tuple of str
        Names of the files that the destination asks for and the job has.
    outcomes : dict of str to StoreOutcome
        By name.
    fallbacks : dict of str to tuple of str
        By the name of what was refused: the names of what stands for it.
    """

    wanted: tuple[str, ...]
    outcomes: dict[str, StoreOutcome] = field(default_factory=dict)
    fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def names(self) -> tuple[str, ...]:
        """Return what is to be at the destination now: what is wanted, or what stands for it."""
        found: list[str] = []
        self._collect(self.wanted, found)
        return tuple(dict.fromkeys(found))

    def _collect(self, names: Iterable[str], found: list[str]) -> None:
        for name in names:
            if name in self.fallbacks:
                self._collect(self.fallbacks[name], found)
            else:
                found.append(name)

    def is_accepted(self, name: str) -> bool:
        """Whether the destination has the object, or one that stands for it."""
        if name in self.fallbacks:
            return any(self.is_accepted(each) for each in self.fallbacks[name])
        return name in self.outcomes and self.outcomes[name].accepted

    def is_complete(self) -> bool:
        """Whether every wanted object, or one that stands for it, has been taken."""
        return all(self.is_accepted(name) for name in self.wanted)

    def can_succeed_later(self) -> bool:
        """Whether a later attempt can take what this one could not."""
        left = [name for name in self.names() if not self.is_accepted(name)]
        return any(name not in self.outcomes or self.outcomes[name].transient for name in left)

    def records(self) -> list[dict[str, Any]]:
        """Return an entry for each object, for the record of the attempt."""
        names = dict.fromkeys((*self.fallbacks, *self.outcomes))
        return [
            {
                "kind": kind_of(name),
                "file": name,
                "sop_instance_uid": "" if outcome is None else outcome.sop_instance_uid,
                "status": None if outcome is None else outcome.status,
                "words": "not sent: another stands for it" if outcome is None else outcome.words,
                "accepted": outcome is not None and outcome.accepted,
                "fallback": list(self.fallbacks.get(name, ())),
            }
            for name in names
            for outcome in (self.outcomes.get(name),)
        ]

    def words(self) -> str:
        """Say it in a sentence."""
        said = []
        for name, outcome in self.outcomes.items():
            instead = self.fallbacks.get(name)
            tail = f", so {' and '.join(instead)} instead" if instead else ""
            said.append(f"{name}: {outcome.words}{tail}")
        return "; ".join(said) or "nothing was left to send"


def make_plan(job: JobRow, destination: Destination, attempts: Sequence[AttemptRow]) -> Plan:
    """Return what the destination wants, with the fallbacks that earlier attempts came to."""
    plan = Plan(wanted_files(destination, job))
    for row in attempts:
        for each in row.objects:
            if each.get("fallback"):
                plan.fallbacks[each["file"]] = tuple(each["fallback"])
    return plan


def wanted_files(destination: Destination, job: JobRow) -> tuple[str, ...]:
    """Return the names of the job's files that a destination asks for, in the order of sending."""
    return tuple(files_for(destination, job.files))


def kind_of(name: str) -> str:
    """Return what a file holds, as the configuration calls it: ``seg``, ``comprehensive-sr``."""
    for kind in SIMPLER_REPORTS:
        if name.startswith(kind):
            return kind
    return objects.kind_of(name)


def possible_fallbacks(destination: Destination) -> tuple[str, ...]:
    """Return the kinds that a destination may come to be sent in place of what it asks for."""
    allowed = allowed_fallbacks(destination)
    found: dict[str, None] = {}
    left: list[str] = list(destination.objects)
    while left:
        for group in _RUNGS.get(left.pop(0), ()):
            new = [kind for kind in group if kind in allowed and kind not in found]
            found.update(dict.fromkeys(new))
            left.extend(new)
    return tuple(found)


def fall_back(plan: Plan, name: str, destination: Destination, job: JobRow) -> None:
    """Decide what stands for an object that was refused for good, and note it in the plan.

    Where a SEG was refused, a report that has not been taken yet gives way to one that does not
    refer to it.
    """
    if name in plan.fallbacks:
        return
    allowed = allowed_fallbacks(destination)
    for group in _RUNGS.get(kind_of(name), ()):
        rung = tuple(
            each
            for kind in group
            if kind in allowed
            for each in _instead(plan, name, kind, destination, job)
        )
        if not rung:
            continue
        without_seg = sr_file(WITHOUT_SEG)
        if kind_of(name) == "seg" and without_seg in rung:
            for each in plan.names():
                if kind_of(each) == "sr" and each != without_seg and not plan.is_accepted(each):
                    plan.fallbacks[each] = (without_seg,)
        plan.fallbacks[name] = rung
        return


def open_parcel(outbox: Outbox, job: JobRow, name: str) -> Parcel:
    """Return a file to be delivered; a simpler report is made from the one that the job has.

    Raises
    ------
    SendError
        If it cannot be read, or is no DICOM file although it should be.
    """
    kind = kind_of(name)
    if kind in SIMPLER_REPORTS:
        report = "sr" + name.removeprefix(kind)
        if report not in job.files:
            raise SendError(f"{report} is no result of the job any more")
        full = outbox.path(job.files[report])
        try:
            content = encode_simpler_report(full, sop_class_uid=SIMPLER_REPORTS[kind])
        except ResultError as error:
            raise SendError(f"{name} cannot be made: {error}") from error
        path = outbox.path(outbox.write(job.id, name, content))
    else:
        if name not in job.files:
            raise SendError(f"{name} is no result of the job any more")
        path = outbox.path(job.files[name])
    if path.suffix != ".dcm":
        return Parcel(name=name, path=path, sop_class_uid="", sop_instance_uid="")
    try:
        with path.open("rb") as file:
            meta = read_file_meta(file)
    except (OSError, InstanceUnreadable) as error:
        raise SendError(f"{path.name} cannot be read from the outbox") from error
    return Parcel(
        name=name,
        path=path,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
    )


def _instead(
    plan: Plan, name: str, kind: str, destination: Destination, job: JobRow
) -> tuple[str, ...]:
    """Return the names of the files that can stand for a refused one."""
    if kind in SIMPLER_REPORTS:
        # Of the same report, be it one with a SEG to refer to or without.
        return (f"{kind}{name.removeprefix(kind_of(name))}",)
    if kind == "sc":
        return tuple(captures_for(destination, job.files))
    reports = [each for each in plan.names() if kind_of(each) == "sr"]
    taken = [each for each in reports if plan.is_accepted(each)]
    without_seg = [each for each in (sr_file(WITHOUT_SEG),) if each in job.files]
    known = [each for each in sorted(job.files) if kind_of(each) == "sr"]
    return tuple((*taken, *without_seg, *reports, *known)[:1])
