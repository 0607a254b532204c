"""The content tree of a Structured Report as plain text (PS3.3 C.17.3).  Builds no reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName

from dicomnode.errors import ResultError

_INDENT: Final = "  "
_HEADER: Final = (
    ("PatientName", "Patient"),
    ("PatientID", "Patient ID"),
    ("PatientBirthDate", "Born"),
    ("PatientSex", "Sex"),
    ("StudyDate", "Study date"),
    ("AccessionNumber", "Accession number"),
    ("SeriesDescription", "Report"),
    ("ContentDate", "Content date"),
    ("ContentTime", "Content time"),
    ("CompletionFlag", "Completion"),
    ("VerificationFlag", "Verification"),
    ("StudyInstanceUID", "Study Instance UID"),
    ("SOPInstanceUID", "SOP Instance UID"),
)
_REFERENCES: Final = frozenset(("IMAGE", "COMPOSITE", "WAVEFORM"))


def write_outline(path: Path) -> str:
    """Render a report as text, one content item a line, indented as they are nested.

    Parameters
    ----------
    path : Path
        A Structured Report of any kind.

    Returns
    -------
    str
        With what its header says of patient and study.  Images that follow one another are
        counted, not listed.

    Raises
    ------
    ResultError
        If it cannot be read, or is no report.
    """
    try:
        report = pydicom.dcmread(path, stop_before_pixels=True)
        lines = [*_header(report), "", *_item(report, 0)]
    # pydicom answers broken files with many kinds of exception; all mean the same here.
    except Exception as error:
        raise ResultError(f"the report cannot be read: {type(error).__name__}") from error
    return "\n".join(lines) + "\n"


def _header(report: Dataset) -> Iterator[str]:
    for keyword, name in _HEADER:
        value = report.get(keyword)
        if value not in (None, ""):
            yield f"{name}: {_plain(value)}"


def _item(item: Dataset, depth: int) -> Iterator[str]:
    yield _INDENT * depth + _line(item)
    children = list(item.get("ContentSequence", ()))
    index = 0
    while index < len(children):
        child = children[index]
        same = 1
        if child.get("ValueType") in _REFERENCES:
            while index + same < len(children) and _is_like(child, children[index + same]):
                same += 1
        if same > 1:
            yield f"{_INDENT * (depth + 1)}{_name(child)}: {same} {_kind(child)}"
        else:
            yield from _item(child, depth + 1)
        index += same


def _is_like(one: Dataset, other: Dataset) -> bool:
    """Whether two references say the same but for the instance they name."""
    return (one.get("ValueType"), _name(one)) == (other.get("ValueType"), _name(other))


def _kind(item: Dataset) -> str:
    return "images" if item.ValueType == "IMAGE" else "objects"


def _line(item: Dataset) -> str:
    name = _name(item)
    if "ReferencedContentItemIdentifier" in item:
        place = ".".join(str(each) for each in item.ReferencedContentItemIdentifier)
        return f"{item.get('RelationshipType', '')}: see item {place}"
    value = _value(item)
    return name if value == "" else f"{name}: {value}"


def _name(item: Dataset) -> str:
    concept = item.get("ConceptNameCodeSequence")
    return _meaning(concept[0]) if concept else str(item.get("ValueType", "item")).capitalize()


def _value(item: Dataset) -> str:
    """Return what a content item says, by its Value Type (PS3.3 C.17.3.2.1)."""
    kind = item.get("ValueType")
    if kind == "CODE":
        return _meaning(item.ConceptCodeSequence[0])
    if kind == "NUM":
        return _number(item)
    if kind in _REFERENCES:
        return _reference(item.ReferencedSOPSequence[0])
    plain = {
        "TEXT": "TextValue",
        "PNAME": "PersonName",
        "UIDREF": "UID",
        "DATE": "Date",
        "TIME": "Time",
        "DATETIME": "DateTime",
        "SCOORD": "GraphicType",
        "SCOORD3D": "GraphicType",
    }
    return _plain(item.get(plain[kind], "")) if kind in plain else ""


def _number(item: Dataset) -> str:
    if not item.get("MeasuredValueSequence"):
        qualifier = item.get("NumericValueQualifierCodeSequence")
        return f"no value ({_meaning(qualifier[0])})" if qualifier else "no value"
    measured = item.MeasuredValueSequence[0]
    unit = measured.MeasurementUnitsCodeSequence[0]
    # UCUM's 1 and {...} are no units that a reader needs.
    symbol = str(unit.get("CodeValue", ""))
    shown = "" if symbol == "1" or symbol.startswith("{") else f" {_meaning(unit)}"
    return f"{_plain(measured.NumericValue)}{shown}"


def _reference(reference: Dataset) -> str:
    parts = [pydicom.uid.UID(reference.ReferencedSOPClassUID).name]
    if "ReferencedSegmentNumber" in reference:
        parts.append(f"segment {_plain(reference.ReferencedSegmentNumber)}")
    if "ReferencedFrameNumber" in reference:
        parts.append(f"frame {_plain(reference.ReferencedFrameNumber)}")
    parts.append(str(reference.ReferencedSOPInstanceUID))
    return ", ".join(parts)


def _meaning(code: Dataset) -> str:
    return str(code.get("CodeMeaning") or code.get("CodeValue") or "")


def _plain(value: object) -> str:
    if isinstance(value, PersonName):
        return " ".join(part for part in str(value).replace("=", "^").split("^") if part)
    if isinstance(value, (list, tuple, MultiValue)):
        return ", ".join(str(each) for each in value)
    return str(value)
