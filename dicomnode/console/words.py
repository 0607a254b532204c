"""Words and forms in which pages say what the records hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydicom.uid import UID

from dicomnode.standard.sop_classes import CT_SOP_CLASSES
from dicomnode.standard.status import describe_store_status

STATES: Final[Mapping[str, str]] = {
    "receiving": "receiving",
    "held": "held: a person must say",
    "closed": "closed",
    "queued": "queued",
    "running": "running",
    "waiting": "waiting",
    "done": "done",
    "refused": "refused",
    "not_selected": "not selected",
    "superseded": "superseded",
    "failed": "failed",
    "cancelled": "cancelled",
}
"""States of series and jobs."""

CLOSED_BECAUSE: Final[Mapping[str, str]] = {
    "count": "as many instances had come as the archive has",
    "contiguous": "the association was released and the slices lie without a gap",
    "quiet": "no instance had come for the quiet time",
    "deadline": "the deadline after its first instance had passed",
}
"""Why a revision of a series was closed."""

NOTES: Final[Mapping[str, str]] = {
    "ignored": "acknowledged and not kept: of a class that the pipeline does not store",
    "kept-first": "came again with other content; the first was kept",
    "replaced": "came again with other content, which replaced the first",
    "refused": "came again with other content, which was refused",
}
"""What became of instances that were not kept."""


def state_words(state: str) -> str:
    """Say the state of a series or job."""
    return STATES.get(state, state.replace("_", " "))


def because(reason: str | None) -> str:
    """Say why a series was closed."""
    return "" if reason is None else CLOSED_BECAUSE.get(reason, reason)


def note_words(kind: str) -> str:
    """Say what became of an instance that was not kept."""
    return NOTES.get(kind, kind)


def status_words(entry: Mapping[str, Any]) -> str:
    """Say what became of one object of a delivery, with its DICOM status in words.

    Parameters
    ----------
    entry : mapping
        An entry of `AttemptRow.objects`.
    """
    status, words = entry.get("status"), str(entry.get("words") or "")
    if isinstance(status, int):
        meaning = describe_store_status(status)
        said = f"0x{status:04X} {meaning}"
        return said if not words or meaning in words else f"{said}: {words}"
    return words or ("taken" if entry.get("accepted") else "not taken")


def modality(sop_class_uid: str | None) -> str:
    """Return the modality of a storage SOP class: CT, or else the class by name."""
    if sop_class_uid is None:
        return ""
    return "CT" if sop_class_uid in CT_SOP_CLASSES else uid_name(sop_class_uid)


def uid_name(uid: str) -> str:
    """Return the name of a SOP class or transfer syntax; the UID itself where it has none."""
    return UID(uid).name


def sentence(text: str) -> str:
    """Write a text as a sentence: it begins with a capital and ends with a full stop."""
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?" else ".")


def age(when: datetime, *, now: datetime | None = None) -> str:
    """Say how long ago something was."""
    seconds = max(((now or datetime.now(UTC)) - when).total_seconds(), 0.0)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def moment(when: datetime | None) -> str:
    """Write a time, UTC, to the second."""
    return "" if when is None else when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(seconds: float) -> str:
    """Write a duration."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def size(count_bytes: int) -> str:
    """Write a number of bytes."""
    amount = float(count_bytes)
    for unit in ("B", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


FILTERS: Final = {
    "age": age,
    "because": because,
    "duration": duration,
    "modality": modality,
    "moment": moment,
    "note_words": note_words,
    "sentence": sentence,
    "size": size,
    "state_words": state_words,
    "status_words": status_words,
    "uid_name": uid_name,
}
"""For templates."""
