"""Which files a delivery is made of, and what is tried in place of one that is refused for good."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicomnode.config import Destination, FolderDestination
from dicomnode.database.delivery_rows import AttemptRow
from dicomnode.database.job_rows import JobRow
from dicomnode.errors import SendError
from dicomnode.pipeline.analysis import OBJECT_FILES
from dicomnode.results.simpler import encode_simpler_report
from dicomnode.send.outcome import StoreOutcome
from dicomnode.spool.part10 import read_file_meta
from dicomnode.spool.results import Outbox
from dicomnode.standard.sop_classes import COMPREHENSIVE_SR, ENHANCED_SR

_SIMPLER: Final = {"comprehensive-sr": COMPREHENSIVE_SR, "enhanced-sr": ENHANCED_SR}

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
    kind : str
        As in the configuration: ``seg``, ``sr``, ``comprehensive-sr``, ...
    path : Path
    sop_class_uid, sop_instance_uid : str
        Empty for what is no DICOM file.
    """

    kind: str
    path: Path
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(slots=True)
class Plan:
    """What a destination is to get, what became of it, and what was tried instead.

    Attributes
    ----------
    wanted : tuple of str
        Kinds, as configured, of which the job has a file.
    outcomes : dict of str to StoreOutcome
        By kind.
    fallbacks : dict of str to tuple of str
        By the kind that was refused: the kinds that stand for it.
    """

    wanted: tuple[str, ...]
    outcomes: dict[str, StoreOutcome] = field(default_factory=dict)
    fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def kinds(self) -> tuple[str, ...]:
        """Return the kinds to be at the destination now: wanted ones, or what stands for them."""
        found: list[str] = []
        self._collect(self.wanted, found)
        return tuple(dict.fromkeys(found))

    def _collect(self, kinds: Iterable[str], found: list[str]) -> None:
        for kind in kinds:
            if kind in self.fallbacks:
                self._collect(self.fallbacks[kind], found)
            else:
                found.append(kind)

    def is_accepted(self, kind: str) -> bool:
        """Whether the destination has the object, or one that stands for it."""
        if kind in self.fallbacks:
            return any(self.is_accepted(each) for each in self.fallbacks[kind])
        return kind in self.outcomes and self.outcomes[kind].accepted

    def is_complete(self) -> bool:
        """Whether every wanted object, or one that stands for it, has been taken."""
        return all(self.is_accepted(kind) for kind in self.wanted)

    def can_succeed_later(self) -> bool:
        """Whether a later attempt can take what this one could not."""
        left = [kind for kind in self.kinds() if not self.is_accepted(kind)]
        return any(kind not in self.outcomes or self.outcomes[kind].transient for kind in left)

    def records(self) -> list[dict[str, Any]]:
        """Return an entry for each object, for the record of the attempt."""
        kinds = dict.fromkeys((*self.fallbacks, *self.outcomes))
        return [
            {
                "kind": kind,
                "file": None if outcome is None else outcome.path.name,
                "sop_instance_uid": "" if outcome is None else outcome.sop_instance_uid,
                "status": None if outcome is None else outcome.status,
                "words": "refused before" if outcome is None else outcome.words,
                "accepted": outcome is not None and outcome.accepted,
                "fallback": list(self.fallbacks.get(kind, ())),
            }
            for kind in kinds
            for outcome in (self.outcomes.get(kind),)
        ]

    def words(self) -> str:
        """Say it in a sentence."""
        said = []
        for kind, outcome in self.outcomes.items():
            instead = self.fallbacks.get(kind)
            tail = f", so {' and '.join(instead)} instead" if instead else ""
            said.append(f"{kind}: {outcome.words}{tail}")
        return "; ".join(said) or "nothing was left to send"


def make_plan(job: JobRow, destination: Destination, attempts: Sequence[AttemptRow]) -> Plan:
    """Return what the destination wants, with the fallbacks that earlier attempts came to."""
    plan = Plan(tuple(kind for kind in destination.objects if OBJECT_FILES[kind] in job.files))
    for row in attempts:
        for each in row.objects:
            if each.get("fallback"):
                plan.fallbacks[each["kind"]] = tuple(each["fallback"])
    return plan


def fall_back(plan: Plan, kind: str, destination: Destination, job: JobRow) -> tuple[str, ...]:
    """Decide what stands for an object that was refused for good, and note it in the plan.

    Returns
    -------
    tuple of str
        Kinds that are to be sent and are not in the plan yet; empty at the end of the ladder.
    """
    if isinstance(destination, FolderDestination):
        return ()
    for group in _RUNGS.get(kind, ()):
        rung = tuple(
            each for each in group if each in destination.fallback and _can_be_made(each, job)
        )
        if rung:
            before = plan.kinds()
            plan.fallbacks[kind] = rung
            return tuple(each for each in plan.kinds() if each not in before)
    return ()


def open_parcel(outbox: Outbox, job: JobRow, kind: str) -> Parcel:
    """Return the file of a kind; a simpler report is made from the one that the job has.

    Raises
    ------
    SendError
        If the file is no DICOM file although it should be.
    """
    if kind in _SIMPLER:
        original = outbox.path(job.files[OBJECT_FILES["sr"]])
        content = encode_simpler_report(original, sop_class_uid=_SIMPLER[kind])
        path = outbox.path(outbox.write(job.id, f"{kind}.dcm", content))
    else:
        path = outbox.path(job.files[OBJECT_FILES[kind]])
    if path.suffix != ".dcm":
        return Parcel(kind=kind, path=path, sop_class_uid="", sop_instance_uid="")
    try:
        with path.open("rb") as file:
            meta = read_file_meta(file)
    except OSError as error:
        raise SendError(f"{path.name} cannot be read: {error.strerror}") from error
    return Parcel(
        kind=kind,
        path=path,
        sop_class_uid=meta.sop_class_uid,
        sop_instance_uid=meta.sop_instance_uid,
    )


def _can_be_made(kind: str, job: JobRow) -> bool:
    return OBJECT_FILES["sr" if kind in _SIMPLER else kind] in job.files
