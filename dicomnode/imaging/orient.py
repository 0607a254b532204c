"""Turning a volume so that its axes run as a model wants them, and label maps back.

Axes are permuted and flipped, nothing is interpolated: every voxel keeps its value, and what a
model says of it goes back onto exactly that voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.model.volume import Volume, VolumeGeometry

_DIRECTION: Final = {
    "L": (0, 1),
    "R": (0, -1),
    "P": (1, 1),
    "A": (1, -1),
    "S": (2, 1),
    "I": (2, -1),
}
"""Letter to axis of LPS patient space and sign (PS3.3 C.7.6.2.1.1, C.7.6.1.1.1)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Oriented:
    """The voxels of a volume with the axes that lie nearest to an orientation.

    Attributes
    ----------
    voxels_hu : numpy.ndarray, dtype int16, C-contiguous, read-only
        For "LPS" the first axis grows to the head, the second to the back, the third to the left.
    geometry : VolumeGeometry
        Of the turned array.
    orientation : str
        What the third, second and first axis grow to, in that order.
    axes_kji : tuple of int
        Which axis of the source each axis of `voxels_hu` is.
    flips_kji : tuple of bool
        Whether that axis runs against the source's.
    """

    voxels_hu: NDArray[np.int16]
    geometry: VolumeGeometry
    orientation: str
    axes_kji: tuple[int, int, int]
    flips_kji: tuple[bool, bool, bool]

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Distance between neighbors along each axis of `voxels_hu`, mm."""
        i, j, k = self.geometry.spacing_ijk_mm
        return k, j, i

    def apply(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a label map on the source's grid as the voxels were turned.

        Parameters
        ----------
        labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8

        Returns
        -------
        numpy.ndarray, shape of `voxels_hu`, dtype uint8, C-contiguous

        Raises
        ------
        ValueError
            If the shape is not the source's.
        """
        turned = labels.transpose(self.axes_kji)[_steps(self.flips_kji)]
        if turned.shape != self.voxels_hu.shape:
            raise ValueError(
                f"wanted labels that turn into shape {self.voxels_hu.shape}, found {turned.shape}"
            )
        return np.ascontiguousarray(turned)

    def restore(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Turn a label map back onto the source's grid.

        Parameters
        ----------
        labels : numpy.ndarray, shape of `voxels_hu`, dtype uint8

        Returns
        -------
        numpy.ndarray, shape (slices, rows, columns), dtype uint8, C-contiguous

        Raises
        ------
        ValueError
            If shape or dtype are others.
        """
        if labels.shape != self.voxels_hu.shape or labels.dtype != np.uint8:
            raise ValueError(
                f"wanted uint8 labels of shape {self.voxels_hu.shape}, "
                f"found {labels.dtype} of {labels.shape}"
            )
        unflipped = labels[_steps(self.flips_kji)]
        return np.ascontiguousarray(unflipped.transpose(np.argsort(self.axes_kji)))


def to_orientation(volume: Volume, orientation: str) -> Oriented:
    """Turn a volume so that its axes run as nearly as they can as `orientation` says.

    Parameters
    ----------
    volume : Volume
    orientation : str
        Three letters of L/R, P/A, S/I, one of each pair: where column, row and slice index grow
        to.  "LPS" is what an axial, supine, head-first series mostly is.

    Returns
    -------
    Oriented
        Shares the volume's memory if nothing has to be turned.

    Raises
    ------
    ValueError
        If `orientation` is not of that form.
    """
    wanted = _parse(orientation)
    matrix = volume.geometry.affine_ijk_to_lps
    source_ijk = _nearest_axes(matrix[:3, :3], wanted)
    against = tuple(
        bool(matrix[axis, source] * sign < 0)
        for source, (axis, sign) in zip(source_ijk, wanted, strict=True)
    )
    # From (column, row, slice) of affines to (slice, row, column) of arrays: both lists reversed.
    axes_kji = tuple(2 - source for source in reversed(source_ijk))
    flips_kji = tuple(reversed(against))
    turned = volume.voxels_hu.transpose(axes_kji)[_steps(flips_kji)]
    voxels_hu = np.ascontiguousarray(turned)
    voxels_hu.flags.writeable = False
    return Oriented(
        voxels_hu=voxels_hu,
        geometry=_turned(volume.geometry, source_ijk, against),
        orientation=orientation,
        axes_kji=(axes_kji[0], axes_kji[1], axes_kji[2]),
        flips_kji=(flips_kji[0], flips_kji[1], flips_kji[2]),
    )


def _parse(orientation: str) -> tuple[tuple[int, int], ...]:
    wanted = tuple(_DIRECTION[letter] for letter in orientation if letter in _DIRECTION)
    if len(orientation) != 3 or sorted(axis for axis, _ in wanted) != [0, 1, 2]:
        raise ValueError(
            f"wanted an orientation of one letter each of L/R, P/A and S/I, found {orientation!r}"
        )
    return wanted


def _nearest_axes(
    directions: NDArray[np.float64], wanted: tuple[tuple[int, int], ...]
) -> tuple[int, ...]:
    """Return which source axis becomes each wanted axis, so that cosines are largest in all."""
    cosines = np.abs(directions / np.linalg.norm(directions, axis=0))
    return max(
        permutations(range(3)),
        key=lambda order: sum(
            cosines[axis, source] for source, (axis, _) in zip(order, wanted, strict=True)
        ),
    )


def _turned(
    geometry: VolumeGeometry, source_ijk: tuple[int, ...], against: tuple[bool, ...]
) -> VolumeGeometry:
    """Compose the geometry of the turned array: the same points under other indices."""
    shape_ijk = geometry.shape_kji[::-1]
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (source, is_flipped) in enumerate(zip(source_ijk, against, strict=True)):
        change[source, new] = -1 if is_flipped else 1
        change[source, 3] = shape_ijk[source] - 1 if is_flipped else 0
    k, j, i = (shape_ijk[source] for source in reversed(source_ijk))
    return VolumeGeometry(
        shape_kji=(k, j, i), affine_ijk_to_lps=geometry.affine_ijk_to_lps @ change
    )


def _steps(flips: tuple[bool, ...]) -> tuple[slice, ...]:
    return tuple(slice(None, None, -1 if is_flipped else 1) for is_flipped in flips)
