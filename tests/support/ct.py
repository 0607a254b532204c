"""Small made-up CT series for tests: unequal on every axis, with one bright voxel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.demo.series import write_ct_series

SHAPE_KJI = (9, 23, 17)
SPACING_KJI_MM = (2.5, 0.9, 0.7)
ORIGIN_LPS = (-41.5, 12.25, -203.0)
BRIGHT_HU = 2500
OBLIQUE = (0.96, 0.28, 0.0, -0.224, 0.768, 0.6)
"""Row and column cosines that are parallel to no axis of the patient."""


def bright_kji(shape_kji: Sequence[int]) -> tuple[int, int, int]:
    """Index (slice, row, column) of the one bright voxel: off center on each axis."""
    slices, rows, columns = shape_kji
    return (2 * slices) // 3, rows // 4, (3 * columns) // 4


def asymmetric_hu(shape_kji: Sequence[int] = SHAPE_KJI) -> NDArray[np.int16]:
    """Make a volume that looks different after any flip, swap or shift of axes.

    Returns
    -------
    numpy.ndarray, shape (slices, rows, columns), dtype int16
        Ramps of a different slope along each axis, from -900 HU up to at most 900, and one voxel
        of `BRIGHT_HU` at `bright_kji`.
    """
    k, j, i = np.indices(tuple(shape_kji))
    slices, rows, columns = (max(each - 1, 1) for each in shape_kji)
    ramps = -900 + 1000 * k // slices + 500 * j // rows + 300 * i // columns
    hu = ramps.astype(np.int16)
    hu[bright_kji(shape_kji)] = BRIGHT_HU
    return hu


def make_series(
    folder: Path,
    *,
    shape_kji: tuple[int, int, int] = SHAPE_KJI,
    spacing_kji_mm: tuple[float, float, float] = SPACING_KJI_MM,
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    origin_lps: Sequence[float] = ORIGIN_LPS,
    hu: NDArray[np.int16] | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
    seed: int | None = None,
    **attributes: Any,
) -> list[Path]:
    """Write a CT series; the files' names are not in slice order.

    Parameters
    ----------
    folder : Path
        Made where it is absent.
    shape_kji, spacing_kji_mm, orientation, origin_lps
        As `dicomnode.demo.series.write_ct_series` has them.  `hu` overrides the shape.
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16, optional
        `asymmetric_hu` by default.
    transfer_syntax : str
        Any that pydicom can write.
    seed : int, optional
        The same seed makes the same UIDs; without it they are fresh.
    **attributes
        Attributes by keyword, in place of or beside the header's.  A function is called with the
        zero-based slice index (``SOPInstanceUID=lambda k: uids[k]``); None leaves the attribute
        out.

    Returns
    -------
    list of Path
        The files in slice order (along row x column cosines), whatever their names.
    """
    voxels = asymmetric_hu(shape_kji) if hu is None else hu
    numbers = np.random.default_rng(20).permutation(len(voxels))
    return write_ct_series(
        folder,
        voxels,
        spacing_kji_mm=spacing_kji_mm,
        orientation=orientation,
        origin_lps=origin_lps,
        transfer_syntax=transfer_syntax,
        seed=seed,
        file_names=[f"ct-{number:04d}.dcm" for number in numbers],
        attributes={"SeriesDescription": "Made-up CT"} | attributes,
    )
