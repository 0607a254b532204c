"""``findings.json`` -> what a page shows of it: tables with units, and answers in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

_UNITS: Final = {"[hnsf'U]": "HU", "1": "", "{ratio}": ""}
"""UCUM's codes that people write otherwise (PS3.16 CID 7461 and on)."""

_NO_VALUE: Final = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A row of measurements: a segment, its color, and a cell a column.

    `number` is that in the SEG; None where the SEG has no such segment.  `place` says where it
    lies, if the label does not.
    """

    number: int | None
    label: str
    place: str
    model: str
    color_rgb: tuple[int, int, int]
    cells: tuple[str, ...]
    is_found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A classification: what was asked, what the answer is, and on which grounds."""

    question: str
    answer: str
    scores: tuple[tuple[str, str], ...]
    score_name: str
    rule: str
    threshold: str | None
    measurements: tuple[tuple[str, str], ...]
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingsTable:
    """The findings of a job, ready to be shown."""

    columns: tuple[str, ...]
    regions: tuple[Region, ...]
    answers: tuple[Answer, ...]
    guards: tuple[tuple[str, bool], ...]
    notes: tuple[str, ...]
    models: tuple[Mapping[str, Any], ...]
    research_use: str
    created: str


def tabulate(findings: Mapping[str, Any]) -> FindingsTable:
    """Arrange the content of ``findings.json``.

    Parameters
    ----------
    findings : mapping
        As `dicomnode.results.summary.summarize` makes it.
    """
    columns: dict[str, str] = {}
    for segment in findings["segments"]:
        for each in segment["measurements"]:
            columns.setdefault(_column_key(each), _column_name(each))
    return FindingsTable(
        columns=tuple(columns.values()),
        regions=tuple(_region(segment, tuple(columns)) for segment in findings["segments"]),
        answers=tuple(_answer(each) for each in findings["classifications"]),
        guards=tuple((each["sentence"], bool(each["blocks"])) for each in findings["guards"]),
        notes=tuple(findings["notes"]),
        models=tuple(findings["models"]),
        research_use=findings["research_use"],
        created=findings["created"],
    )


def figure(value: float | None) -> str:
    """Write a number with as many digits as it deserves."""
    if value is None:
        return _NO_VALUE
    size = abs(value)
    if 0 < size < 0.01:
        return "< 0.01" if value > 0 else "> -0.01"
    return f"{value:,.0f}" if size >= 100 else f"{value:.1f}" if size >= 1 else f"{value:.2f}"


def _column_key(measurement: Mapping[str, Any]) -> str:
    derivation = measurement["derivation"] or {"value": ""}
    return f"{measurement['name']['value']} {derivation['value']} {measurement['unit']}"


def _column_name(measurement: Mapping[str, Any]) -> str:
    name = str(measurement["name"]["meaning"])
    if measurement["derivation"]:
        name = f"{name}, {str(measurement['derivation']['meaning']).lower()}"
    unit = _unit(measurement)
    return f"{name}, {unit}" if unit else name


def _unit(measurement: Mapping[str, Any]) -> str:
    unit = str(measurement["unit"])
    return _UNITS.get(unit, unit)


def _region(segment: Mapping[str, Any], columns: Sequence[str]) -> Region:
    values = {_column_key(each): figure(each["value"]) for each in segment["measurements"]}
    red, green, blue = segment["color_rgb"]
    return Region(
        number=segment["seg_segment_number"],
        label=segment["label"],
        place=_place(segment),
        model=segment["model"],
        color_rgb=(red, green, blue),
        cells=tuple(values.get(key, "") for key in columns),
        is_found=bool(segment["volume_ml"]),
    )


def _place(segment: Mapping[str, Any]) -> str:
    codes = (segment["laterality"], segment["anatomic_region"])
    meanings = [str(code["meaning"]) for code in codes if code]
    return ", ".join(m for m in meanings if m.lower() not in segment["label"].lower())


def _answer(classification: Mapping[str, Any]) -> Answer:
    is_probability = classification["score_kind"] == "probability"
    scale = 100 if is_probability else 1
    threshold = classification["threshold"]
    measurements = tuple(
        (each["name"]["meaning"], f"{figure(each['value'])} {_unit(each)}".strip())
        for each in classification["measurements"]
    )
    scores = tuple(
        (each["class"], _share(each["score"], scale)) for each in classification["scores"]
    )
    return Answer(
        question=classification["question"]["meaning"],
        answer=classification["answer"]["meaning"],
        # A score that is given again as a measurement, under a longer name, is said once.
        scores=tuple(
            (name, share)
            for name, share in scores
            if not any(of.startswith(name) and share == value for of, value in measurements)
        ),
        score_name="Probability" if is_probability else "Share",
        rule=classification["rule"],
        threshold=None if threshold is None else _share(threshold, scale),
        measurements=measurements,
        model=classification["model"],
    )


def _share(score: float | None, scale: int) -> str:
    return _NO_VALUE if score is None else f"{score * scale:.1f} %"
