"""Reasons to doubt a segmentation of the lungs, or to go no further with it.  Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.model.findings import Guard, Segment
from dicomnode.standard.codes import LEFT, LUNG, RIGHT

# From a severely restricted to the largest inflated pair of adult lungs, with room on both sides.
LEAST_LUNGS_ML: Final = 500.0
MOST_LUNGS_ML: Final = 12_000.0

# Less than this is a remnant or an error, no lung.
_LEAST_LUNG_ML: Final = 50.0


def check_lungs(labels: NDArray[np.uint8], segments: Sequence[Segment]) -> tuple[Guard, ...]:
    """Look for what makes a result about the lungs doubtful.

    Parameters
    ----------
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        On the source grid.
    segments : sequence of Segment
        Of the label map, measured.

    Returns
    -------
    tuple of Guard
        Empty also where no segment is of property type (39607008, SCT, "Lung").  In this order:
        ``no_lungs`` and ``implausible_lung_volume``, which block classification;
        ``one_lung_missing``, ``lungs_touch_first_slice``, ``lungs_touch_last_slice``, which do not.
    """
    lungs = [each for each in segments if each.property_type == LUNG]
    if not lungs:
        return ()
    total_ml = sum(each.volume_ml for each in lungs)
    if total_ml == 0:
        return (
            Guard(name="no_lungs", sentence="No lungs were found in this series.", blocks=True),
        )
    guards: list[Guard] = []
    if not LEAST_LUNGS_ML <= total_ml <= MOST_LUNGS_ML:
        guards.append(
            Guard(
                name="implausible_lung_volume",
                sentence=f"The lungs found measure {total_ml / 1000:.2f} L, which is outside "
                f"{LEAST_LUNGS_ML / 1000:g} to {MOST_LUNGS_ML / 1000:g} L.",
                blocks=True,
            )
        )
    guards.extend(_one_missing(lungs))
    numbers = [each.number for each in lungs]
    for index, word in ((0, "first"), (-1, "last")):
        if np.isin(labels[index], numbers).any():
            guards.append(
                Guard(
                    name=f"lungs_touch_{word}_slice",
                    sentence=f"The lungs reach the {word} slice of the series: "
                    "they may be incomplete.",
                    blocks=False,
                )
            )
    return tuple(guards)


def _one_missing(lungs: Sequence[Segment]) -> tuple[Guard, ...]:
    # A model may give both lungs as one segment of no side; codes compare with codes only.
    sided = [(each.laterality, each.volume_ml) for each in lungs if each.laterality is not None]
    by_side = {
        side.meaning.lower(): sum(volume_ml for found, volume_ml in sided if found == side)
        for side in (LEFT, RIGHT)
        if any(found == side for found, _ in sided)
    }
    missing = [side for side, volume_ml in by_side.items() if volume_ml < _LEAST_LUNG_ML]
    if len(by_side) < 2 or len(missing) != 1:
        return ()
    return (
        Guard(
            name="one_lung_missing",
            sentence=f"No {missing[0]} lung was found.",
            blocks=False,
        ),
    )
