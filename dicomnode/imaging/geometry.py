"""The geometry gate: which slices make a volume, in which order, and where they lie.

Pure apart from the comparison of pixels of slices at one position, which is passed in.  Every
refusal names the slices concerned by SOP Instance UID.  Slice order and patient space are those
of `dicomnode.model.volume`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import (
    IrregularSpacing,
    MissingSlices,
    MixedGeometry,
    NoImages,
    PixelsUnreadable,
    TooFewSlices,
)
from dicomnode.imaging.duplicates import keep_distinct
from dicomnode.imaging.placement import SAME_POSITION_MM, depth_of, named, normal_of
from dicomnode.imaging.policy import STRICT, GatePolicy
from dicomnode.imaging.slices import Slice
from dicomnode.model.volume import VolumeGeometry

ORIENTATION_TOLERANCE: Final = 1e-3
"""Largest difference of a direction cosine: a fifth of a pixel at the edge of a chest CT."""

PIXEL_SPACING_TOLERANCE: Final = 1e-3
"""Largest relative difference of pixel spacing: half a pixel over 512."""

REGULARITY_TOLERANCE: Final = 0.05
"""How far a slice may lie from its place on the regular grid, as a fraction of the spacing."""

ROUNDING_MM: Final = 0.06
"""What positions written to a tenth of a millimeter may be off the fit; allowed at any spacing."""

MULTIPLE_TOLERANCE: Final = 0.1
"""How far a gap may be from a whole number of spacings and still be called missing slices."""

TILT_DEGREES: Final = 0.1
"""A slice axis that leans more than this from the normal is a tilted gantry, and is noted."""

_NAMED_GAPS: Final = 5
_OWN_FRAMES_OF_REFERENCE: Final = 0.95
"""Where so many slices name one of their own, it says nothing: a few may be there twice."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OrderedSlices:
    """Slices that make a volume.

    Attributes
    ----------
    slices : tuple of Slice
        Along row x column cosines.
    geometry : VolumeGeometry
    frame_of_reference_uid : str or None
        None where the slices name none, or each another.
    tilt_degrees : float
        Angle between the slice axis and the normal of the image plane.
    dropped : tuple of Slice
        Repetitions of a slice that is there.
    notes : tuple of str
        What a reader of the result should know.
    """

    slices: tuple[Slice, ...]
    geometry: VolumeGeometry
    frame_of_reference_uid: str | None
    tilt_degrees: float
    dropped: tuple[Slice, ...]
    notes: tuple[str, ...]


def order_slices(
    slices: Sequence[Slice],
    *,
    policy: GatePolicy = STRICT,
    unplaced: int = 0,
    is_same_image: Callable[[Slice, Slice], bool],
) -> OrderedSlices:
    """Order the slices of a series and find the grid they lie on, or say why there is none.

    Parameters
    ----------
    slices : sequence of Slice
        In any order.  Those with a `pixels_fault` count as missing at their position.
    policy : GatePolicy
    unplaced : int
        How many instances of the series are missing at positions that nobody knows.
    is_same_image : callable
        Whether two slices at one position hold the same pixels.

    Returns
    -------
    OrderedSlices
        The slice axis of the affine is the mean step between positions, fitted to all of them: a
        tilted gantry shears it (PS3.3 C.7.6.2.1.1).

    Raises
    ------
    NoImages
        If there are none.
    PixelsUnreadable
        If there are slices, but none with usable pixels.
    MixedGeometry
        If series, Frame of Reference, matrix, pixel spacing or orientation differ, or the slices
        do not lie along one line.
    DuplicatePositions
        If different images lie at one position or bear one SOP Instance UID.
    TooFewSlices
        If fewer are left than the policy wants.
    MissingSlices
        If a gap is a multiple of the spacing, or a slice has no usable pixels, and the policy is
        to refuse; names the gaps in mm.
    IrregularSpacing
        If positions are uneven beyond the tolerance of the policy.
    """
    if not slices:
        raise NoImages("wanted the slices of a CT series, found none")
    _require_one_plane(slices)
    frame_of_reference_uid, notes = _frame_of_reference(slices)
    normal = normal_of(slices[0])
    by_depth = sorted(slices, key=lambda each: (depth_of(each, normal), each.sop_instance_uid))
    sound = [each for each in by_depth if each.pixels_fault is None]
    if not sound:
        fault = by_depth[0].pixels_fault
        raise PixelsUnreadable(
            f"no slice of {len(by_depth)} has pixels: {by_depth[0].label}: {fault}"
        )
    distinct = keep_distinct(sound, normal, policy, is_same_image)
    faulty = _still_missing(by_depth, distinct.kept, normal)
    kept, gap_note = _without_gaps(distinct.kept, faulty, unplaced, normal, policy)
    if len(kept) < policy.min_slices:
        raise TooFewSlices(f"wanted at least {policy.min_slices} slices, found {len(kept)}")
    line = _fit_line(kept, normal, policy)
    tilt = _angle_degrees(line.step, normal)
    if distinct.dropped:
        notes.append(f"{len(distinct.dropped)} repeated slices were left out.")
    if tilt > TILT_DEGREES:
        notes.append(f"The gantry was tilted by {tilt:.1f} degrees.")
    notes += [note for note in (distinct.note, gap_note, line.note) if note is not None]
    return OrderedSlices(
        slices=tuple(kept),
        geometry=_geometry(kept, line),
        frame_of_reference_uid=frame_of_reference_uid,
        tilt_degrees=tilt,
        dropped=tuple(distinct.dropped),
        notes=tuple(notes),
    )


def _angle_degrees(step: NDArray[np.float64], normal: NDArray[np.float64]) -> float:
    """Return the angle between two directions; exact also where it is next to nothing."""
    across = float(np.linalg.norm(np.cross(step, normal)))
    return float(np.degrees(np.arctan2(across, float(step @ normal))))


def _require_one_plane(slices: Sequence[Slice]) -> None:
    """Require all that makes slices parallel images of one matrix in one space."""
    _require_equal("series", slices, lambda each: each.series_instance_uid)
    _require_equal("matrix", slices, lambda each: (each.rows, each.columns))
    spacings = np.array([each.pixel_spacing_mm for each in slices])
    _require_close(
        "pixel spacing", slices, spacings, PIXEL_SPACING_TOLERANCE * float(spacings.min())
    )
    _require_close(
        "orientation",
        slices,
        np.array([each.orientation_lps for each in slices]),
        ORIENTATION_TOLERANCE,
    )


def _frame_of_reference(slices: Sequence[Slice]) -> tuple[str | None, list[str]]:
    """Return the one Frame of Reference (PS3.3 C.7.4.1), and what is to be noted about it."""
    found = {each.frame_of_reference_uid for each in slices}
    is_each_its_own = len(found) >= _OWN_FRAMES_OF_REFERENCE * len(slices) and len(slices) > 2
    if is_each_its_own and None not in found:
        # De-identification that draws a UID per instance does this, throughout LIDC-IDRI: the
        # attribute then says nothing, and only the positions can tell whether slices belong.
        return None, ["Every slice names a Frame of Reference of its own; one was assumed."]
    _require_equal("Frame of Reference", slices, lambda each: each.frame_of_reference_uid or "")
    return slices[0].frame_of_reference_uid, []


def _require_equal(
    what: str, slices: Sequence[Slice], value_of: Callable[[Slice], Hashable]
) -> None:
    counts = Counter(value_of(each) for each in slices)
    if len(counts) > 1:
        usual = counts.most_common(1)[0][0]
        others = [each for each in slices if value_of(each) != usual]
        raise MixedGeometry(f"wanted one {what}, found {len(counts)}: {named(others)} differ")


def _require_close(
    what: str, slices: Sequence[Slice], values: NDArray[np.float64], tolerance: float
) -> None:
    off = np.abs(values - np.median(values, axis=0)).max(axis=1)
    if off.max() > tolerance:
        others = [
            each for each, departure in zip(slices, off, strict=True) if departure > tolerance
        ]
        raise MixedGeometry(
            f"wanted one {what}, found values up to {off.max():.4g} from the usual: "
            f"{named(others)} differ"
        )


def _still_missing(
    by_depth: Sequence[Slice], kept: Sequence[Slice], normal: NDArray[np.float64]
) -> list[Slice]:
    """Return the slices without usable pixels at whose position there is no other image."""
    depths = np.array([depth_of(each, normal) for each in kept])
    return [
        each
        for each in by_depth
        if each.pixels_fault is not None
        and np.abs(depths - depth_of(each, normal)).min() >= SAME_POSITION_MM
    ]


def _without_gaps(
    slices: list[Slice],
    faulty: Sequence[Slice],
    unplaced: int,
    normal: NDArray[np.float64],
    policy: GatePolicy,
) -> tuple[list[Slice], str | None]:
    """Refuse missing slices, or return the largest block without any, and what is to be said."""
    depths = np.array([depth_of(each, normal) for each in slices])
    missing, words = _missing(slices, faulty, depths, normal)
    if unplaced:
        words.append(f"{unplaced} instances cannot be read at all")
    if not words:
        return slices, None
    if policy.gaps == "refuse":
        raise MissingSlices("; ".join(words))
    ends = [0, *np.flatnonzero(missing) + 1, len(slices)]
    start, end = max(pairwise(ends), key=lambda pair: pair[1] - pair[0])
    return slices[start:end], (
        f"Slices are missing: {'; '.join(words)}. The largest block without a gap was analyzed, "
        f"{end - start} of {len(slices)} slices; the rest was not."
    )


def _missing(
    slices: Sequence[Slice],
    faulty: Sequence[Slice],
    depths: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> tuple[NDArray[np.bool_], list[str]]:
    """Say after which slices something is missing, and what, in words."""
    gaps = np.diff(depths)
    words: list[str] = []
    is_gap = np.zeros(gaps.shape, dtype=np.bool_)
    if faulty:
        at = np.searchsorted(depths, [depth_of(each, normal) for each in faulty])
        # A faulty slice before the first or after the last leaves a block of all others.
        is_gap[[int(index) - 1 for index in at if 0 < index < len(depths)]] = True
        words.append(
            f"wanted the pixels of every slice, found {len(faulty)} slices without: "
            f"{named(faulty)} ({faulty[0].pixels_fault})"
        )
    if len(gaps):
        # The lower median: with few slices a gap must not become the usual.
        spacing = float(np.sort(gaps)[(len(gaps) - 1) // 2])
        counts = gaps / spacing
        is_multiple = (counts > 1.5) & (np.abs(counts - np.rint(counts)) <= MULTIPLE_TOLERANCE)
        absent = is_multiple & ~is_gap
        if absent.any():
            found = [
                f"{gaps[index]:.3f} mm between {slices[index].label} and {slices[index + 1].label}"
                for index in np.flatnonzero(absent)[:_NAMED_GAPS]
            ]
            words.append(
                f"wanted gaps of {spacing:.3f} mm, found {int(absent.sum())} with "
                f"{int(np.rint(counts[absent] - 1).sum())} slices missing: {'; '.join(found)}"
            )
        is_gap |= is_multiple
    return is_gap, words


@dataclass(frozen=True, slots=True)
class _Line:
    """Where the first slice lies and the step from one to the next, mm LPS.

    `places` says where each slice lies, in steps; None where each lies at its own index.
    """

    origin: NDArray[np.float64]
    step: NDArray[np.float64]
    places: NDArray[np.float64] | None
    note: str | None


def _fit_line(slices: Sequence[Slice], normal: NDArray[np.float64], policy: GatePolicy) -> _Line:
    """Fit first position and step to all positions; refuse what lies off the line."""
    positions = np.array([each.position_lps for each in slices])
    index = np.arange(len(slices)) - (len(slices) - 1) / 2
    step = index @ positions / (index @ index)
    center = positions.mean(axis=0)
    residual = positions - (center + np.outer(index, step))
    along = np.abs(residual @ normal)
    spacing = float(step @ normal)
    if along.max() <= max(REGULARITY_TOLERANCE * spacing, ROUNDING_MM):
        across = np.linalg.norm(residual - np.outer(residual @ normal, normal), axis=1)
        _check_across(slices, across)
        return _Line(center + index[0] * step, step, None, None)
    _check_residual(
        slices,
        along,
        max(policy.irregular_tolerance * spacing, ROUNDING_MM),
        IrregularSpacing,
        f"along the slice axis at a spacing of {spacing:.3f} mm",
    )
    # Uneven, and to be resampled: the line goes through the positions, whatever their numbers.
    depths = (positions - center) @ normal
    step = spacing * (depths @ (positions - center)) / (depths @ depths)
    step *= spacing / float(step @ normal)
    across = np.linalg.norm(positions - center - np.outer(depths / spacing, step), axis=1)
    _check_across(slices, across)
    return _Line(
        center + depths[0] / spacing * step,
        step,
        (depths - depths[0]) / spacing,
        f"Slices are unevenly spaced, up to {along.max():.2f} mm from their place at a spacing of "
        f"{spacing:.2f} mm; the models saw them resampled.",
    )


def _check_across(slices: Sequence[Slice], off_mm: NDArray[np.float64]) -> None:
    allowed = max(REGULARITY_TOLERANCE * min(slices[0].pixel_spacing_mm), ROUNDING_MM)
    _check_residual(slices, off_mm, allowed, MixedGeometry, "within the image plane")


def _check_residual(
    slices: Sequence[Slice],
    off_mm: NDArray[np.float64],
    allowed_mm: float,
    error: type[IrregularSpacing | MixedGeometry],
    where: str,
) -> None:
    if off_mm.max() > allowed_mm:
        others = [each for each, off in zip(slices, off_mm, strict=True) if off > allowed_mm]
        raise error(
            f"wanted positions within {allowed_mm:.3f} mm of a regular grid, found "
            f"{off_mm.max():.3f} mm {where}: {named(others)}"
        )


def _geometry(slices: Sequence[Slice], line: _Line) -> VolumeGeometry:
    """Compose the affine that maps (column, row, slice) to LPS mm (PS3.3 C.7.6.2.1.1)."""
    first = slices[0]
    between_rows, between_columns = first.pixel_spacing_mm
    affine = np.eye(4)
    # The column index grows along the row cosines, by the distance between columns: the second
    # value of Pixel Spacing.
    affine[:3, 0] = np.array(first.orientation_lps[:3]) * between_columns
    affine[:3, 1] = np.array(first.orientation_lps[3:]) * between_rows
    affine[:3, 2] = line.step
    affine[:3, 3] = line.origin
    return VolumeGeometry(
        shape_kji=(len(slices), first.rows, first.columns),
        affine_ijk_to_lps=affine,
        slice_places=line.places,
    )
