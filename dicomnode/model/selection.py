"""Which series a pipeline wants, what a series is like, what was decided.  Nothing decides here.

The rules are part of the configuration, the decision is recorded and can be asked afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydicom.datadict import dictionary_VR, tag_for_keyword

PATIENT_GROUP = 0x0010
"""Attributes of the patient (PS3.3 C.7.1.1): never asked for by a rule, never recorded."""

Plane = Literal["axial", "coronal", "sagittal"]


def _check_keyword(keyword: str) -> str:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword!r} is no keyword of PS3.6")
    if tag >> 16 == PATIENT_GROUP:
        raise ValueError(f"{keyword!r} is an attribute of the patient, which no rule may ask for")
    if dictionary_VR(tag) in {"SQ", "OB", "OW", "OB or OW", "UN", "OF", "OD", "OL", "OV"}:
        raise ValueError(f"{keyword!r} holds no values that can be compared")
    return keyword


def _check_regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
    return pattern


Keyword = Annotated[str, AfterValidator(_check_keyword)]
Pattern = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_check_regex)]


class _Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Condition(_Rules):
    """One attribute and what it must be, in every image of the series."""

    keyword: Keyword = Field(description="Of PS3.6, as ConvolutionKernel.")
    equals: str | None = Field(None, description="One of its values is this.")
    is_in: tuple[str, ...] | None = Field(
        None, alias="in", min_length=1, description="One of its values is one of these."
    )
    regex: Pattern | None = Field(None, description="Found in its values, joined by a backslash.")
    min: float | None = Field(None, description="Its first value is a number, at least this.")
    max: float | None = Field(None, description="Its first value is a number, at most this.")
    negate: bool = Field(default=False, description="The condition must not hold.")
    if_absent: Literal["fail", "pass"] = Field("fail", description="Where there is no value.")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        tests = [self.equals, self.is_in, self.regex]
        is_range = self.min is not None or self.max is not None
        if sum(each is not None for each in tests) + is_range != 1:
            raise ValueError("wanted one of equals, in, regex, or min and max")
        return self


class Preference(_Rules):
    """One step in finding the best series of a study."""

    by: str = Field(description='A keyword of PS3.6, or "slices" or "spacing".')
    order: Literal["lowest", "highest"] | tuple[Pattern, ...] = Field(
        description="lowest, highest, or regular expressions, the best first."
    )

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.by not in {"slices", "spacing"}:
            _check_keyword(self.by)
        return self


class SelectionRules(_Rules):
    """Which of the series that arrive are analyzed."""

    leave_out_unsuitable: bool = Field(
        default=True,
        description="Leave out localizers, reformats, derived maps, dose screens, bolus tracking.",
    )
    planes: tuple[Plane, ...] = Field(
        ("axial",), description="Planes that slices may lie nearest to; empty: any."
    )
    min_slices: int = Field(3, ge=1, description="Slices at distinct positions, at least.")
    max_slices: int = Field(5000, ge=1, description="At most.")
    max_spacing_mm: float | None = Field(
        None, gt=0, description="Largest usual distance between slices."
    )
    max_slice_thickness_mm: float | None = Field(
        None, gt=0, description="Largest Slice Thickness; a series without any passes."
    )
    conditions: tuple[Condition, ...] = Field((), description="All must hold.")
    best_of_study: tuple[Preference, ...] = Field(
        (), description="Of the fitting series of a study only the best is analyzed; empty: all."
    )
    study_quiet_seconds: float = Field(
        30.0, gt=0, le=86_400, description="So long nothing of the study came: the best is chosen."
    )

    @property
    def keywords(self) -> tuple[str, ...]:
        """All attributes that the rules ask for."""
        asked = [each.keyword for each in self.conditions]
        asked += [each.by for each in self.best_of_study if each.by not in {"slices", "spacing"}]
        return tuple(sorted(set(asked)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesTraits:
    """What a series is like, as far as rules can ask.

    Attributes
    ----------
    values : mapping of str to tuple of tuple of str
        By keyword: each distinct multi-valued value that the images have.
    image_count : int
        Images or frames that are slices; localizers are not.
    position_count : int
        Distinct positions of those along their normal.
    localizer_count, other_count, unreadable_count : int
        Localizers; objects that are no CT image; files that cannot be read.
    plane : str or None
        Nearest to which plane the slices lie; None where they lie in several or nowhere.
    spacing_mm : float or None
        Usual distance between positions.
    """

    values: Mapping[str, tuple[tuple[str, ...], ...]]
    image_count: int
    position_count: int
    localizer_count: int
    other_count: int
    unreadable_count: int
    plane: Plane | None
    spacing_mm: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleOutcome:
    """What one rule said of a series: wanted and found, in words, and whether it passed."""

    rule: str
    wanted: str
    found: str
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What all rules said of a series.

    Attributes
    ----------
    outcomes : tuple of RuleOutcome
        Every rule, in order.
    rank : tuple
        For comparison with other series of the study: the lower the better.
    """

    outcomes: tuple[RuleOutcome, ...]
    rank: tuple[float, ...] = ()

    @property
    def is_selected(self) -> bool:
        """Whether every rule passed."""
        return all(each.passed for each in self.outcomes)

    @property
    def sentence(self) -> str:
        """Why the series was not selected, or that it was."""
        against = [each for each in self.outcomes if not each.passed]
        if not against:
            return "Selected: every rule passed."
        told = "; ".join(
            f"{each.rule}: wanted {each.wanted}, found {each.found}" for each in against
        )
        return f"Not selected: {told}"
