"""From the coarse grid back to the image: where exactly the lung ends.  No search here."""

from __future__ import annotations

import numpy as np
from coarse import Coarse, Mask, bounding_box, dilate
from numpy.typing import NDArray

# Between lung (-850) and soft tissue (50) lies -400; people draw the edge a little further out,
# where the pleura's blur ends.
_EDGE_HU = -300

# Share of a coarse voxel's neighborhood above which tissue that is as dense as muscle is a vessel
# within the lung rather than the wall beside it.
_WITHIN = 0.75


def draw_edge(
    hu: NDArray[np.int16],
    coarse: Coarse,
    found: NDArray[np.uint8],
    airway: Mask,
    labels: NDArray[np.uint8],
) -> None:
    """Draw the lungs found on the coarse grid at full resolution.

    What is darker than the edge and within a coarse voxel of the lung belongs to it; what is
    brighter does so only well within, where the closing put vessels.

    Parameters
    ----------
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
    coarse : Coarse
        Made of `hu`.
    found : numpy.ndarray, coarse shape, dtype uint8
        1 left lung, 2 right lung.
    airway : numpy.ndarray, coarse shape, dtype bool
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        All 0; drawn into.
    """
    fk, fj, fi = coarse.factors
    box = bounding_box(found > 0, (1, 2, 2))
    found, airway = found[box], airway[box]
    near = found.copy()
    for side in (1, 2):
        wider = dilate(found == side, (1 if fk > 1 else 0, 1, 1))
        near[wider & (near == 0) & ~airway] = side

    first_k = box[0].start * fk
    j = slice(box[1].start * fj, min(box[1].stop * fj, hu.shape[1]))
    i = slice(box[2].start * fi, min(box[2].stop * fi, hu.shape[2]))
    rows = np.arange(j.stop - j.start) // fj
    columns = np.arange(i.stop - i.start) // fi
    blend_rows = _Blend(j.stop - j.start, fj, near.shape[1])
    blend_columns = _Blend(i.stop - i.start, fi, near.shape[2])
    smooth = coarse.spacing_mm[1] / fj < 1.2
    for k in range(first_k, min(first_k + len(near) * fk, hu.shape[0])):
        level = (k - first_k) // fk
        if not near[level].any():
            continue
        plane = hu[k, j, i]
        dark = (_smooth(plane) if smooth else plane) < _EDGE_HU
        share = (found[level] > 0).astype(np.float32)
        within = blend_columns.apply(blend_rows.apply(share, 0), 1) > _WITHIN
        side = near[level][rows][:, columns]
        labels[k, j, i] = np.where(dark | within, side, 0)


class _Blend:
    """Linear interpolation from blocks' centers to the voxels that they were made of."""

    def __init__(self, length: int, factor: int, blocks: int) -> None:
        at = (np.arange(length) + 0.5) / factor - 0.5
        low = np.floor(at).astype(int)
        self._low = np.clip(low, 0, blocks - 1)
        self._high = np.clip(low + 1, 0, blocks - 1)
        self._weight = (at - low).astype(np.float32)

    def apply(self, plane: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
        weight = self._weight[:, None] if axis == 0 else self._weight
        low = plane.take(self._low, axis)
        blended: NDArray[np.float32] = low + (plane.take(self._high, axis) - low) * weight
        return blended


def _smooth(plane: NDArray[np.int16]) -> NDArray[np.int16]:
    """Average with weights 1, 2, 1 along both axes, against noise; edges stay."""
    out = np.clip(plane, -1024, 1000)
    for axis in (0, 1):
        source = out
        out = source.copy()
        now, before = np.moveaxis(out, axis, 0), np.moveaxis(source, axis, 0)
        now[1:-1] = (before[:-2] + 2 * before[1:-1] + before[2:]) >> 2
    return out
