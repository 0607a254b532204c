"""Which files a delivery is made of, and what is tried in place of one that is refused for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicomnode.config import Destination, FolderDestination
from dicomnode.database.delivery_rows import AttemptRow
from dicomnode.database.job_rows import JobRow
from dicomnode.errors import InstanceUnreadable, SendError
from dicomnode.pipeline.analysis import OBJECT_FILES
from dicomnode.results.simpler import encode_simpler_report
from dicomnode.send.outcome import StoreOutcome
from dicomnode.spool.part10 import read_file_meta
from dicomnode.spool.results import Outbox
from dicomnode.standard.sop_classes import COMPREHENSIVE_SR, ENHANCED_SR

_SIMPLER: Final = {"comprehensive-sr": COMPREHENSIVE_SR, "enhanced-sr": ENHANCED_SR}

_KINDS: Final = {file: kind for kind, file in OBJECT_FILES.items()}

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
                "words": "refused before" if outcome is None else outcome.words,
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
    return tuple(
        OBJECT_FILES[kind] for kind in destination.objects if OBJECT_FILES[kind] in job.files
    )


def kind_of(name: str) -> str:
    """Return what a file holds, as the configuration calls it: ``seg``, ``comprehensive-sr``."""
    stem = name.removesuffix(".dcm")
    return _KINDS.get(name) or (stem if stem in _SIMPLER else stem.partition("-")[0])


def fall_back(plan: Plan, name: str, destination: Destination, job: JobRow) -> tuple[str, ...]:
    """Decide what stands for an object that was refused for good, and note it in the plan.

    Returns
    -------
    tuple of str
        Names of what is to be sent and is not in the plan yet; empty at the end of the ladder.
    """
    if isinstance(destination, FolderDestination):
        return ()
    for group in _RUNGS.get(kind_of(name), ()):
        rung = tuple(
            each
            for kind in group
            if kind in destination.fallback
            for each in _files_of(kind, destination, job)
        )
        if rung:
            before = plan.names()
            plan.fallbacks[name] = rung
            return tuple(each for each in plan.names() if each not in before)
    return ()


def open_parcel(outbox: Outbox, job: JobRow, name: str, destination: Destination) -> Parcel:
    """Return a file to be delivered; a simpler report is made from the one that the job has.

    Raises
    ------
    SendError
        If it cannot be read, or is no DICOM file although it should be.
    """
    kind = kind_of(name)
    if kind in _SIMPLER:
        (report,) = _files_of("sr", destination, job)
        content = encode_simpler_report(
            outbox.path(job.files[report]), sop_class_uid=_SIMPLER[kind]
        )
        path = outbox.path(outbox.write(job.id, name, content))
    else:
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


def _files_of(kind: str, destination: Destination, job: JobRow) -> tuple[str, ...]:
    """Return the names of the files that hold objects of a kind, of those the job has or can make.

    There is one report: the one that the destination asks for, else any.
    """
    if kind == "sr":
        known = (*wanted_files(destination, job), *sorted(job.files))
        return tuple(each for each in known if kind_of(each) == "sr")[:1]
    if kind in _SIMPLER:
        return (f"{kind}.dcm",) if _files_of("sr", destination, job) else ()
    return tuple(sorted(each for each in job.files if kind_of(each) == kind))
