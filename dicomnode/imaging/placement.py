"""Where slices lie along their common normal, and how errors name several of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.imaging.slices import Slice

SAME_POSITION_MM: Final = 0.01
"""Slices nearer than this lie at one position: positions are written to 0.001 mm or better."""

_NAMED: Final = 5


def normal_of(image: Slice) -> NDArray[np.float64]:
    """Return row x column cosines, a unit vector of LPS."""
    normal = np.cross(image.orientation_lps[:3], image.orientation_lps[3:])
    unit: NDArray[np.float64] = normal / np.linalg.norm(normal)
    return unit


def depth_of(image: Slice, normal: NDArray[np.float64]) -> float:
    """Return how far the slice lies along the normal, mm."""
    return float(normal @ image.position_lps)


def named(slices: Sequence[Slice]) -> str:
    """Name the first few slices, and say how many more there are."""
    more = f" and {len(slices) - _NAMED} more" if len(slices) > _NAMED else ""
    return ", ".join(each.label for each in slices[:_NAMED]) + more
