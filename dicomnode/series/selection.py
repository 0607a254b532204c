"""Does a pipeline want this series, and why not?  Pure: rules and traits in, a decision out.

Every rule is asked, also after one has failed: the whole record answers "why was this not run?".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from dicomnode.model.selection import (
    Condition,
    Decision,
    Preference,
    RuleOutcome,
    SelectionRules,
    SeriesTraits,
)

RULE_KEYWORDS: Final = ("ImageType", "SeriesDescription", "SliceThickness", "ConvolutionKernel")
"""Attributes that the built-in rules ask for."""

_BEST: Final = "best of study"
_SHOWN_VALUES: Final = 4
_SHOWN_LENGTH: Final = 64

_REFORMATS: Final = frozenset(
    (
        "MPR",
        "REFORMATTED",
        "REFORMAT",
        "MIP",
        "MINIP",
        "MAXIMUM",
        "MINIMUM",
        "AVERAGE",
        "VRT",
        "VR",
        "3D",
        "CURVED",
        "VOLUME_RENDERED",
        "CSAMPR",
        "CSA_MPR",
        "CSAPARALLEL",
        "CSARADIAL",
        "PROJECTION_IMAGE",
        "ST_RANGE",
        "MPVR",
    )
)
_MAPS: Final = frozenset(
    (
        "CBF",
        "CBV",
        "MTT",
        "TTP",
        "TMAX",
        "PBV",
        "BV",
        "BF",
        "PS",
        "PERFUSION",
        "IODINE",
        "VNC",
        "RHO_Z",
        "Z_EFF",
        "ZEFF",
        "EFFECTIVE_Z",
        "MATERIAL_DENSITY",
        "DECOMPOSED",
        "VUE",
        "SUBTRACTION",
        "SUBTRACTED",
        "MASK",
        "CALCIUM_SCORING_MAP",
        "FUSION",
    )
)
_SCREENS: Final = frozenset(
    (
        "SCREEN_SAVE",
        "SCREENSHOT",
        "SCREEN_CAPTURE",
        "DOSE_INFO",
        "DOSE",
        "DOSE_REPORT",
        "CT_SOM5_PROT",
        "CT_SOM7_PROT",
        "CT_SOM8_PROT",
        "PROT",
        "SUMMARY",
    )
)
_DOSE_TEXT: Final = re.compile(
    r"dose\s*(report|info|sheet|record|summary)|patient protocol|exam summary|screen\s?s(ave|hot)",
    re.IGNORECASE,
)
_TRACKING_TEXT: Final = re.compile(
    r"(pre)?monitoring|smart\s*prep|bolus[\s_-]*(track|tim|test)|test[\s_-]*bolus|sure\s*start"
    r"|\btracker\b|premonit",
    re.IGNORECASE,
)


def decide(rules: SelectionRules, traits: SeriesTraits) -> Decision:
    """Hold every rule against a series.

    Parameters
    ----------
    rules : SelectionRules
    traits : SeriesTraits
        With the values of `RULE_KEYWORDS` and of the rules' own keywords.
    """
    return Decision(
        outcomes=(
            *(_unsuitable(traits) if rules.leave_out_unsuitable else ()),
            *_measures(rules, traits),
            *(_condition(each, traits) for each in rules.conditions),
        ),
        rank=tuple(_rank(each, traits) for each in rules.best_of_study),
    )


def compete(decision: Decision, *, uid: str, others: Iterable[tuple[str, Decision]]) -> Decision:
    """Add the rule that a series must be the best of its study.

    Parameters
    ----------
    decision : Decision
        Of the series itself; it comes back unchanged unless every rule passed.
    uid : str
        Its Series Instance UID, which decides between equals.
    others : iterable of (str, Decision)
        The other series of the study by Series Instance UID, for comparison.

    Returns
    -------
    Decision
    """
    if not decision.is_selected:
        return decision
    better = [
        (each.rank, other)
        for other, each in others
        if _fits(each) and (each.rank, other) < (decision.rank, uid)
    ]
    found = "none better"
    if better:
        found = f"series {min(better)[1]} is better"
    outcome = RuleOutcome(
        rule=_BEST,
        wanted="the best of the fitting series of the study",
        found=found,
        passed=not better,
    )
    return Decision(outcomes=(*decision.outcomes, outcome), rank=decision.rank)


def _fits(decision: Decision) -> bool:
    """Whether every rule passed but the competition, in which a series may have lost before."""
    return all(each.passed for each in decision.outcomes if each.rule != _BEST)


# -- built-in rules


def _unsuitable(traits: SeriesTraits) -> Iterator[RuleOutcome]:
    counted = (
        f"{traits.image_count} slices, {traits.localizer_count} localizers, "
        f"{traits.other_count} other objects, {traits.unreadable_count} unreadable files"
    )
    yield RuleOutcome(
        rule="slices",
        wanted="CT slices that are no localizers",
        found=counted,
        passed=traits.image_count > 0,
    )
    types = [
        frozenset(re.sub(r"[\s]+", "_", value.upper()) for value in each)
        for each in traits.values.get("ImageType", ())
    ]
    found = _shown(traits, "ImageType")
    for rule, wanted, marks in (
        ("reformats", "no reformat or projection in Image Type", _REFORMATS),
        ("derived maps", "no map of something else than radiodensity in Image Type", _MAPS),
        ("dose screens", "no screen in Image Type", _SCREENS),
    ):
        marked = any(marks & each for each in types)
        yield RuleOutcome(rule=rule, wanted=wanted, found=found, passed=not marked)
    made_later = any(
        [value.upper() for value in each[:2]] == ["DERIVED", "SECONDARY"]
        for each in traits.values.get("ImageType", ())
    )
    yield RuleOutcome(
        rule="secondary images",
        wanted="no image made from others after the examination (DERIVED, SECONDARY)",
        found=found,
        passed=not made_later,
    )
    said = _joined(traits, "SeriesDescription")
    for rule, pattern in (("dose reports", _DOSE_TEXT), ("bolus tracking", _TRACKING_TEXT)):
        seen = pattern.search(said)
        yield RuleOutcome(
            rule=rule,
            wanted=f"no Series Description of {rule}",
            found=repr(seen.group(0)) if seen else "none",
            passed=seen is None,
        )
    yield RuleOutcome(
        rule="repeated positions",
        wanted="more than one position for several images",
        found=f"{traits.image_count} images at {traits.position_count} positions",
        # Bolus tracking and interventional CT: one or two slices, again and again.
        passed=not (traits.image_count >= 3 and traits.position_count <= 2),
    )


def _measures(rules: SelectionRules, traits: SeriesTraits) -> Iterator[RuleOutcome]:
    yield RuleOutcome(
        rule="number of slices",
        wanted=f"{rules.min_slices} to {rules.max_slices} positions",
        found=str(traits.position_count),
        passed=rules.min_slices <= traits.position_count <= rules.max_slices,
    )
    if rules.planes:
        yield RuleOutcome(
            rule="plane",
            wanted=" or ".join(rules.planes),
            found=traits.plane or "none or several",
            passed=traits.plane in rules.planes,
        )
    if rules.max_spacing_mm is not None:
        spacing = traits.spacing_mm
        yield RuleOutcome(
            rule="spacing",
            wanted=f"at most {rules.max_spacing_mm:g} mm",
            found="none" if spacing is None else f"{spacing:.3f} mm",
            passed=spacing is not None and spacing <= rules.max_spacing_mm * (1 + 1e-6),
        )
    if rules.max_slice_thickness_mm is not None:
        numbers = _numbers(traits, "SliceThickness")
        yield RuleOutcome(
            rule="slice thickness",
            wanted=f"at most {rules.max_slice_thickness_mm:g} mm",
            found=_shown(traits, "SliceThickness"),
            passed=all(
                each is not None and each <= rules.max_slice_thickness_mm * (1 + 1e-6)
                for each in numbers
            ),
        )


# -- rules of the configuration


def _condition(condition: Condition, traits: SeriesTraits) -> RuleOutcome:
    values = [each for each in traits.values.get(condition.keyword, ()) if any(each)]
    if values:
        holds = [_holds(condition, each) for each in values]
        passed = not any(holds) if condition.negate else all(holds)
    else:
        passed = condition.if_absent == "pass"
    return RuleOutcome(
        rule=condition.keyword,
        wanted=_wanted(condition),
        found=_shown(traits, condition.keyword),
        passed=passed,
    )


def _holds(condition: Condition, value: tuple[str, ...]) -> bool:
    if condition.equals is not None:
        return condition.equals in value
    if condition.is_in is not None:
        return any(each in condition.is_in for each in value)
    if condition.regex is not None:
        return re.search(condition.regex, "\\".join(value)) is not None
    number = _number(value)
    if number is None:
        return False
    return (condition.min is None or number >= condition.min) and (
        condition.max is None or number <= condition.max
    )


def _wanted(condition: Condition) -> str:
    if condition.equals is not None:
        text = repr(condition.equals)
    elif condition.is_in is not None:
        text = "one of " + ", ".join(map(repr, condition.is_in))
    elif condition.regex is not None:
        text = f"a match of {condition.regex!r}"
    else:
        ends = [
            f"{word} {bound:g}"
            for word, bound in (("at least", condition.min), ("at most", condition.max))
            if bound is not None
        ]
        text = " and ".join(ends)
    return f"anything but {text}" if condition.negate else text


def _rank(preference: Preference, traits: SeriesTraits) -> float:
    """Return where a series stands by one preference, the lower the better; what lacks it last."""
    if isinstance(preference.order, tuple):
        said = _joined(traits, preference.by)
        places = [
            float(place)
            for place, pattern in enumerate(preference.order)
            if re.search(pattern, said)
        ]
        return min(places, default=float("inf"))
    value: float | None
    if preference.by == "slices":
        value = float(traits.position_count)
    elif preference.by == "spacing":
        value = traits.spacing_mm
    else:
        numbers = [each for each in _numbers(traits, preference.by) if each is not None]
        value = max(numbers, default=None)
    if value is None:
        return float("inf")
    return value if preference.order == "lowest" else -value


# -- values


def _numbers(traits: SeriesTraits, keyword: str) -> list[float | None]:
    return [_number(each) for each in traits.values.get(keyword, ()) if any(each)]


def _number(value: tuple[str, ...]) -> float | None:
    try:
        return float(value[0])
    except (ValueError, IndexError):
        return None


def _joined(traits: SeriesTraits, keyword: str) -> str:
    return "\n".join("\\".join(each) for each in traits.values.get(keyword, ()))


def _shown(traits: SeriesTraits, keyword: str) -> str:
    """Say the distinct values, a few of them."""
    values = traits.values.get(keyword, ())
    shown = [repr("\\".join(each)[:_SHOWN_LENGTH]).replace("\\\\", "\\") for each in values]
    if not shown:
        return "none"
    more = f" and {len(shown) - _SHOWN_VALUES} more" if len(shown) > _SHOWN_VALUES else ""
    return ", ".join(shown[:_SHOWN_VALUES]) + more
