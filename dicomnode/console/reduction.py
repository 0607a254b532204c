"""Volumes made smaller by whole steps, for a browser's graphics memory.  Slices need none of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.model.findings import LabelMap
from dicomnode.model.volume import VolumeGeometry

Steps = tuple[int, int, int]


def steps_for(shape_kji: tuple[int, int, int], max_side: int) -> Steps:
    """Return how many voxels become one along each axis so that no side exceeds `max_side`."""
    k, j, i = (-(-count // max_side) for count in shape_kji)
    return k, j, i


def reduce_geometry(geometry: VolumeGeometry, steps_kji: Steps) -> VolumeGeometry:
    """Return the grid of the blocks; what does not fill a block at the far ends is left out."""
    k, j, i = (count // step for count, step in zip(geometry.shape_kji, steps_kji, strict=True))
    steps_ijk = np.array(steps_kji[::-1], dtype=float)
    change = np.diag([*steps_ijk, 1.0])
    change[:3, 3] = (steps_ijk - 1) / 2
    return VolumeGeometry(
        shape_kji=(k, j, i), affine_ijk_to_lps=geometry.affine_ijk_to_lps @ change
    )


def reduce_voxels(voxels_hu: NDArray[np.int16], steps_kji: Steps) -> NDArray[np.int16]:
    """Return the mean of each block.

    Parameters
    ----------
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
    steps_kji : tuple of int
        As `steps_for` has them.
    """
    if steps_kji == (1, 1, 1):
        return voxels_hu
    sums = _sum_blocks(voxels_hu, steps_kji, np.int32)
    means: NDArray[np.int16] = np.rint(sums / np.prod(steps_kji)).astype(np.int16)
    return means


def reduce_labels(label_map: LabelMap, steps_kji: Steps) -> LabelMap:
    """Return the value that most voxels of each block have, the uppermost where several overlap."""
    flat = label_map.flat()
    geometry = reduce_geometry(label_map.geometry, steps_kji)
    if steps_kji == (1, 1, 1):
        return LabelMap(labels=flat, geometry=geometry)
    most = np.zeros(geometry.shape_kji, np.uint16)
    labels = np.zeros(geometry.shape_kji, np.uint8)
    present = np.zeros(256, np.bool_)
    for plane in flat:
        present |= np.bincount(plane.ravel(), minlength=256) > 0
    for value in np.flatnonzero(present).tolist():
        count = _sum_blocks(flat == value, steps_kji, np.uint16)
        wins = count > most
        labels[wins] = value
        np.maximum(most, count, out=most)
    return LabelMap(labels=labels, geometry=geometry)


def _sum_blocks(array: NDArray[Any], steps_kji: Steps, dtype: type) -> NDArray[Any]:
    """Sum over blocks, axis by axis, without an array of the source's size in a wider type."""
    summed = array
    for axis, step in enumerate(steps_kji):
        count = summed.shape[axis] // step
        whole = np.moveaxis(summed, axis, 0)[: count * step]
        total: NDArray[Any] = whole[::step].astype(dtype)
        for first in range(1, step):
            total += whole[first::step]
        summed = np.moveaxis(total, 0, axis)
    return summed
