"""Images at one position: repetitions are dropped, acquisitions told apart and one chosen.

Pure apart from the comparison of pixels, which is passed in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import DuplicatePositions
from dicomnode.imaging.placement import SAME_POSITION_MM, depth_of
from dicomnode.imaging.policy import AcquisitionPolicy, GatePolicy
from dicomnode.imaging.slices import VARIANT_KEYWORDS, Slice

_Groups = dict[str, list[Slice]]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Slices of which no two lie at one position.

    Attributes
    ----------
    kept : list of Slice
        In the order given.
    dropped : list of Slice
        Repetitions of one that is kept.
    note : str or None
        Which of several acquisitions was chosen, for a reader of the result.
    """

    kept: list[Slice]
    dropped: list[Slice]
    note: str | None


def keep_distinct(
    by_depth: Sequence[Slice],
    normal: NDArray[np.float64],
    policy: GatePolicy,
    is_same_image: Callable[[Slice, Slice], bool],
) -> Distinct:
    """Leave one image at each position.

    Parameters
    ----------
    by_depth : sequence of Slice
        Along the normal.
    normal : numpy.ndarray, shape (3,), dtype float64
    policy : GatePolicy
    is_same_image : callable
        Whether two slices hold the same pixels.

    Raises
    ------
    DuplicatePositions
        If different images lie at one position or bear one SOP Instance UID, and the policy is to
        refuse, or nothing tells them apart.
    """
    kept: list[Slice] = []
    dropped: list[Slice] = []
    clash: tuple[Slice, Slice] | None = None
    for place in _places(by_depth, normal):
        here: list[Slice] = []
        for each in place:
            former = next((one for one in here if _is_repetition(each, one, is_same_image)), None)
            if former is None:
                here.append(each)
            else:
                dropped.append(each)
        if len(here) > 1 and clash is None:
            clash = here[1], here[0]
        kept += here
    _require_own_uids(kept)
    if clash is None:
        return Distinct(kept, dropped, None)
    keyword, groups = _split(kept, normal, policy.min_slices)
    if policy.acquisitions == "refuse" or not groups:
        raise DuplicatePositions(_describe(*clash, keyword, groups))
    name = _choose(groups, policy.acquisitions)
    return Distinct(
        groups[name],
        dropped,
        f"{len(groups)} acquisitions at the same positions differ in {keyword}; the one of "
        f"{len(groups[name])} slices with {keyword} {_shown(name)} was analyzed.",
    )


def _places(by_depth: Sequence[Slice], normal: NDArray[np.float64]) -> Iterator[list[Slice]]:
    """Yield the images of each position."""
    place: list[Slice] = []
    for each in by_depth:
        if place and depth_of(each, normal) - depth_of(place[-1], normal) >= SAME_POSITION_MM:
            yield place
            place = []
        place.append(each)
    if place:
        yield place


def _is_repetition(one: Slice, other: Slice, is_same_image: Callable[[Slice, Slice], bool]) -> bool:
    apart = np.linalg.norm(np.subtract(one.position_lps, other.position_lps))
    return bool(apart < SAME_POSITION_MM) and is_same_image(one, other)


def _require_own_uids(slices: Sequence[Slice]) -> None:
    seen: set[tuple[str, int | None]] = set()
    for each in slices:
        identity = (each.sop_instance_uid, each.frame_number)
        if identity in seen:
            raise DuplicatePositions(
                f"wanted one image under a UID, found two different ones: {each.label}"
            )
        seen.add(identity)


def _split(
    slices: Sequence[Slice], normal: NDArray[np.float64], min_slices: int
) -> tuple[str, _Groups]:
    """Group by the first attribute that leaves one image at each position in every group."""
    for keyword in VARIANT_KEYWORDS:
        groups = _group_by(slices, partial(_variant, keyword=keyword))
        if _is_split(groups, normal, min_slices):
            return keyword, groups
    groups = _group_by(slices, lambda each: "\\".join(each.image_type))
    if _is_split(groups, normal, min_slices):
        return "Image Type", groups
    groups = _by_time(slices, normal)
    if _is_split(groups, normal, min_slices):
        return "order of acquisition", groups
    return "", {}


def _variant(image: Slice, keyword: str) -> str:
    return dict(image.variants).get(keyword, "")


def _group_by(slices: Sequence[Slice], value_of: Callable[[Slice], str]) -> _Groups:
    groups: defaultdict[str, list[Slice]] = defaultdict(list)
    for each in slices:
        groups[value_of(each)].append(each)
    return dict(groups)


def _by_time(slices: Sequence[Slice], normal: NDArray[np.float64]) -> _Groups:
    """Group the first images of all positions, the second ones, and so on, by acquisition time."""
    groups: defaultdict[str, list[Slice]] = defaultdict(list)
    for place in _places(slices, normal):
        times = [each.acquired_at for each in place]
        if "" in times or len(set(times)) < len(times):
            return {}
        for number, each in enumerate(sorted(place, key=lambda one: one.acquired_at), start=1):
            groups[str(number)].append(each)
    return dict(groups)


def _is_split(groups: _Groups, normal: NDArray[np.float64], min_slices: int) -> bool:
    return len(groups) > 1 and all(
        len(group) >= min_slices and all(len(place) == 1 for place in _places(group, normal))
        for group in groups.values()
    )


def _choose(groups: _Groups, rule: AcquisitionPolicy) -> str:
    """Choose by the rule; what was acquired first comes first, else the lowest value."""
    in_order = sorted(
        groups,
        key=lambda name: (min(each.acquired_at for each in groups[name]), _as_number(name), name),
    )
    if rule == "last":
        return in_order[-1]
    if rule == "most_slices":
        return max(in_order, key=lambda name: len(groups[name]))
    return in_order[0]


def _as_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _describe(one: Slice, other: Slice, keyword: str, groups: _Groups) -> str:
    numbers = {one.acquisition_number, other.acquisition_number}
    why = f" of acquisitions {sorted(map(str, numbers))}" if len(numbers) > 1 else ""
    text = f"wanted one image at a position, found two{why}: {one.label}, {other.label}"
    if not groups:
        return text
    counts = ", ".join(f"{_shown(name)} ({len(group)})" for name, group in sorted(groups.items()))
    return f"{text}; the series holds {len(groups)} that differ in {keyword}: {counts}"


def _shown(value: str) -> str:
    return repr(value[:16]) if value else "none"
