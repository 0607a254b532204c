"""The geometry gate: which slices make a volume, in which order, and where they lie.

Pure apart from the comparison of pixels of slices at one position, which is passed in.  Every
refusal names the slices concerned by SOP Instance UID.  Slice order and patient space are those
of `dicomnode.model.volume`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import (
    DuplicatePositions,
    IrregularSpacing,
    MissingSlices,
    MixedGeometry,
    NoImages,
    TooFewSlices,
)
from dicomnode.imaging.pixels import has_same_pixels
from dicomnode.imaging.slices import Slice
from dicomnode.model.volume import VolumeGeometry

MIN_SLICES: Final = 3
"""Two slices have one gap, and one gap cannot show that it is regular."""

ORIENTATION_TOLERANCE: Final = 1e-3
"""Largest difference of a direction cosine: a fifth of a pixel at the edge of a chest CT."""

PIXEL_SPACING_TOLERANCE: Final = 1e-3
"""Largest relative difference of pixel spacing: half a pixel over 512."""

SAME_POSITION_MM: Final = 0.01
"""Slices nearer than this lie at one position: positions are written to 0.001 mm or better."""

REGULARITY_TOLERANCE: Final = 0.05
"""How far a slice may lie from its place on the regular grid, as a fraction of the spacing."""

ROUNDING_MM: Final = 0.06
"""What positions written to a tenth of a millimeter may be off the fit; allowed at any spacing."""

MULTIPLE_TOLERANCE: Final = 0.1
"""How far a gap may be from a whole number of spacings and still be called missing slices."""

TILT_DEGREES: Final = 0.1
"""A slice axis that leans more than this from the normal is a tilted gantry, and is noted."""

_NAMED: Final = 5


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
    is_same_image: Callable[[Slice, Slice], bool] = has_same_pixels,
) -> OrderedSlices:
    """Order the slices of a series and find the grid they lie on, or say why there is none.

    Parameters
    ----------
    slices : sequence of Slice
        In any order.
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
    MixedGeometry
        If series, Frame of Reference, matrix, pixel spacing or orientation differ, or the slices
        do not lie along one line.
    DuplicatePositions
        If different images lie at one position or bear one SOP Instance UID.
    TooFewSlices
        If fewer than `MIN_SLICES` are left.
    MissingSlices
        If a gap is a multiple of the spacing; names the gaps in mm.
    IrregularSpacing
        If positions are uneven beyond tolerance.
    """
    if not slices:
        raise NoImages("wanted the slices of a CT series, found none")
    _require_one_plane(slices)
    frame_of_reference_uid, notes = _frame_of_reference(slices)
    normal = _normal(slices[0])
    by_depth = sorted(slices, key=lambda each: (_depth(each, normal), each.sop_instance_uid))
    kept, dropped = _drop_repetitions(by_depth, normal, is_same_image)
    if len(kept) < MIN_SLICES:
        raise TooFewSlices(f"wanted at least {MIN_SLICES} slices, found {len(kept)}")
    _require_no_gap(kept, normal)
    origin, step = _fit_line(kept, normal)
    tilt = float(np.degrees(np.arccos(min(1.0, float(step @ normal / np.linalg.norm(step))))))
    if dropped:
        notes.append(f"{len(dropped)} repeated slices were left out.")
    if tilt > TILT_DEGREES:
        notes.append(f"The gantry was tilted by {tilt:.1f} degrees.")
    return OrderedSlices(
        slices=tuple(kept),
        geometry=_geometry(kept, origin, step),
        frame_of_reference_uid=frame_of_reference_uid,
        tilt_degrees=tilt,
        dropped=tuple(dropped),
        notes=tuple(notes),
    )


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
    if len(slices) >= MIN_SLICES and len(found) == len(slices) and None not in found:
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
        raise MixedGeometry(f"wanted one {what}, found {len(counts)}: {_named(others)} differ")


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
            f"{_named(others)} differ"
        )


def _drop_repetitions(
    by_depth: Sequence[Slice],
    normal: NDArray[np.float64],
    is_same_image: Callable[[Slice, Slice], bool],
) -> tuple[list[Slice], list[Slice]]:
    """Leave out repetitions; refuse different images at one position or under one UID."""
    kept: list[Slice] = []
    dropped: list[Slice] = []
    seen: dict[tuple[str, int | None], Slice] = {}
    for each in by_depth:
        identity = (each.sop_instance_uid, each.frame_number)
        last = kept[-1] if kept else None
        is_here = last is not None and (
            _depth(each, normal) - _depth(last, normal) < SAME_POSITION_MM
        )
        if not is_here and identity not in seen:
            seen[identity] = each
            kept.append(each)
            continue
        former = last if last is not None and is_here else seen[identity]
        apart = np.linalg.norm(np.subtract(each.position_lps, former.position_lps))
        if apart >= SAME_POSITION_MM or not is_same_image(each, former):
            raise DuplicatePositions(_clash(each, former))
        dropped.append(each)
    return kept, dropped


def _clash(one: Slice, other: Slice) -> str:
    if one.sop_instance_uid == other.sop_instance_uid and one.frame_number == other.frame_number:
        return f"wanted one image under a UID, found two different ones: {one.label}"
    numbers = {one.acquisition_number, other.acquisition_number}
    why = f" of acquisitions {sorted(map(str, numbers))}" if len(numbers) > 1 else ""
    return f"wanted one image at a position, found two{why}: {one.label}, {other.label}"


def _require_no_gap(slices: Sequence[Slice], normal: NDArray[np.float64]) -> None:
    """Refuse gaps of two or more spacings."""
    gaps = np.diff([_depth(each, normal) for each in slices])
    # The lower median: with few slices a gap must not become the usual.
    spacing = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    counts = gaps / spacing
    is_gap = (counts > 1.5) & (np.abs(counts - np.rint(counts)) <= MULTIPLE_TOLERANCE)
    if not is_gap.any():
        return
    found = [
        f"{gaps[index]:.3f} mm between {slices[index].label} and {slices[index + 1].label}"
        for index in np.flatnonzero(is_gap)[:_NAMED]
    ]
    missing = int(np.rint(counts[is_gap] - 1).sum())
    raise MissingSlices(
        f"wanted gaps of {spacing:.3f} mm, found {int(is_gap.sum())} "
        f"with {missing} slices missing: {'; '.join(found)}"
    )


def _fit_line(
    slices: Sequence[Slice], normal: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fit first position and step, both mm LPS, to all positions; refuse what lies off the line."""
    positions = np.array([each.position_lps for each in slices])
    index = np.arange(len(slices)) - (len(slices) - 1) / 2
    step = index @ positions / (index @ index)
    center = positions.mean(axis=0)
    residual = positions - (center + np.outer(index, step))
    along = np.abs(residual @ normal)
    spacing = float(step @ normal)
    _check_residual(slices, along, spacing, IrregularSpacing, "along the slice axis")
    across = np.linalg.norm(residual - np.outer(residual @ normal, normal), axis=1)
    _check_residual(
        slices, across, min(slices[0].pixel_spacing_mm), MixedGeometry, "within the image plane"
    )
    return center + index[0] * step, step


def _check_residual(
    slices: Sequence[Slice],
    off_mm: NDArray[np.float64],
    spacing_mm: float,
    error: type[IrregularSpacing | MixedGeometry],
    where: str,
) -> None:
    allowed = max(REGULARITY_TOLERANCE * spacing_mm, ROUNDING_MM)
    if off_mm.max() > allowed:
        others = [each for each, off in zip(slices, off_mm, strict=True) if off > allowed]
        raise error(
            f"wanted positions within {allowed:.3f} mm of a regular grid, found {off_mm.max():.3f} "
            f"mm {where} at a spacing of {spacing_mm:.3f} mm: {_named(others)}"
        )


def _geometry(
    slices: Sequence[Slice], origin: NDArray[np.float64], step: NDArray[np.float64]
) -> VolumeGeometry:
    """Compose the affine that maps (column, row, slice) to LPS mm (PS3.3 C.7.6.2.1.1)."""
    first = slices[0]
    between_rows, between_columns = first.pixel_spacing_mm
    affine = np.eye(4)
    # The column index grows along the row cosines, by the distance between columns: the second
    # value of Pixel Spacing.
    affine[:3, 0] = np.array(first.orientation_lps[:3]) * between_columns
    affine[:3, 1] = np.array(first.orientation_lps[3:]) * between_rows
    affine[:3, 2] = step
    affine[:3, 3] = origin
    return VolumeGeometry(
        shape_kji=(len(slices), first.rows, first.columns), affine_ijk_to_lps=affine
    )


def _normal(image: Slice) -> NDArray[np.float64]:
    normal = np.cross(image.orientation_lps[:3], image.orientation_lps[3:])
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal)
    return unit


def _depth(image: Slice, normal: NDArray[np.float64]) -> float:
    return float(normal @ image.position_lps)


def _named(slices: Sequence[Slice]) -> str:
    """Name the first few slices, and say how many more there are."""
    more = f" and {len(slices) - _NAMED} more" if len(slices) > _NAMED else ""
    return ", ".join(each.label for each in slices[:_NAMED]) + more
