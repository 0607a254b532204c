"""A patient who can be recognized: every text attribute has a value that nothing else has."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset

MARK = "QZXJWV"
DATES = {"PatientBirthDate": "19010203", "StudyDate": "19020304", "SeriesDate": "19020305"}
"""Of what is no text: dates that are nobody's."""

_GROUPS = (0x0008, 0x0010, 0x0018, 0x0020, 0x0032, 0x0038, 0x0040)
_TEXT = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
_OTHERWISE_READ = ("TimezoneOffsetFromUTC",)
"""Texts whose form means something."""


def text_attributes() -> dict[str, str]:
    """Return keyword and VR of the text attributes that tell of people, places and times."""
    return {
        keyword: vr
        for tag, (vr, vm, _, retired, keyword) in DicomDictionary.items()
        if tag >> 16 in _GROUPS
        and vr in _TEXT
        and vm.startswith("1")
        and not retired
        and keyword not in _OTHERWISE_READ
    }


def mark(data_set: Dataset) -> int:
    """Put a value that is recognized into every text attribute; return into how many."""
    attributes = text_attributes()
    for number, (keyword, vr) in enumerate(attributes.items()):
        value = f"{MARK}{number:04d}"
        setattr(data_set, keyword, f"{value}^{MARK}GIVEN" if vr == "PN" else value)
    for keyword, date in DATES.items():
        setattr(data_set, keyword, date)
    return len(attributes)


def mark_files(paths: list[Path]) -> int:
    """Mark DICOM files in place."""
    count = 0
    for path in paths:
        data_set = dcmread(path)
        count = mark(data_set)
        data_set.save_as(path)
    return count


def marks_in(text: str) -> list[str]:
    """Return where a text holds anything of that patient, with some words around."""
    found = []
    for wanted in (MARK, *DATES.values()):
        at = text.upper().find(wanted)
        if at >= 0:
            found.append(text[max(0, at - 80) : at + 80])
    return found
