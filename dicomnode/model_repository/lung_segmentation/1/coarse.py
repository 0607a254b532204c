"""The coarse grid that lungs are searched on, and morphology on it in millimeters.

No anatomy here.  Arrays are (slice, row, column), slices to the head, rows to the back, columns to
the patient's left; SimpleITK counts the other way round, which only this module needs to know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import SimpleITK
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

# Search on voxels of about 2 mm: averaging to that size takes out most of the noise of a sharp
# kernel, a pleural fissure or an airway wall still shows, and everything is ten times faster.
_TARGET_MM = 2.0
_AIR_HU, _BRIGHT_HU = -1024, 1000
# Outside the reconstructed circle scanners write values that no tissue has (-2000, -2048, -3024).
_PADDING_BELOW_HU = -1500


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coarse:
    """A volume averaged down to voxels of about 2 mm.

    Attributes
    ----------
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Means over blocks, clipped to what a smoothed chest holds.
    padding : numpy.ndarray, same shape, dtype bool
        Voxels that were never reconstructed.
    spacing_mm : tuple of float
        Slice, row and column spacing.
    factors : tuple of int
        Voxels averaged along each axis.
    """

    hu: NDArray[np.int16]
    padding: Mask
    spacing_mm: tuple[float, float, float]
    factors: tuple[int, int, int]

    @property
    def voxel_ml(self) -> float:
        """Volume of one coarse voxel."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    def crop(self, box: Box) -> Coarse:
        """Return the part within a box."""
        return replace(self, hu=self.hu[box], padding=self.padding[box])

    def radius(self, mm: float) -> tuple[int, int, int]:
        """Half widths in voxels of a ball of `mm`, 0 along an axis whose voxels are too long."""
        k, j, i = (int(mm / each + 0.5) for each in self.spacing_mm)
        return k, j, i


def reduce(hu: NDArray[np.int16], spacing_mm: Sequence[float]) -> Coarse:
    """Average a volume down to voxels of about 2 mm.

    Parameters
    ----------
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
    spacing_mm : sequence of float
        Slice, row and column spacing.
    """
    fk, fj, fi = (max(1, round(_TARGET_MM / float(each))) for each in spacing_mm)
    slices, rows, columns = hu.shape
    shape = -(-slices // fk), -(-rows // fj), -(-columns // fi)
    mean = np.empty(shape, np.int16)
    padding = np.empty(shape, np.bool_)
    for k in range(shape[0]):
        slab = hu[k * fk : (k + 1) * fk]
        total = np.zeros((shape[1] * fj, shape[2] * fi), np.int32)
        for plane in slab:
            clipped = np.clip(plane, _AIR_HU, _BRIGHT_HU)
            # Blocks that reach over the edge repeat the last row and column.
            edges = ((0, total.shape[0] - rows), (0, total.shape[1] - columns))
            total += np.pad(clipped, edges, mode="edge") if any(e[1] for e in edges) else clipped
        block = np.zeros(shape[1:], np.int32)
        for j in range(fj):
            for i in range(fi):
                block += total[j::fj, i::fi]
        mean[k] = block // (len(slab) * fj * fi)
        nearest = slab[len(slab) // 2][::fj, ::fi]
        padding[k] = nearest <= _PADDING_BELOW_HU
    k_mm, j_mm, i_mm = (float(each) for each in spacing_mm)
    return Coarse(
        hu=mean,
        # Blocks at the rim are part padding, part image: no use for either.
        padding=dilate(padding | _constant_corners(mean), (0, 1, 1)),
        spacing_mm=(k_mm * fk, j_mm * fj, i_mm * fi),
        factors=(fk, fj, fi),
    )


def _constant_corners(mean: NDArray[np.int16]) -> Mask:
    """Padding that hides as air: the lowest value, on all slices, outside the inscribed circle."""
    rows, columns = mean.shape[1:]
    j, i = np.ogrid[:rows, :columns]
    outside = np.hypot((j + 0.5) * 2 / rows - 1, (i + 0.5) * 2 / columns - 1) > 0.95
    constant = (mean == mean.min()).all(axis=0)
    return np.broadcast_to(outside & constant, mean.shape)


def to_image(array: NDArray[np.generic]) -> SimpleITK.Image:
    """Make a SimpleITK image of a mask or a volume; geometry is left out."""
    return SimpleITK.GetImageFromArray(array.view(np.uint8) if array.dtype == np.bool_ else array)


def erode(mask: Mask, radius_kji: Sequence[int]) -> Mask:
    """Erode by a rounded box; beyond the volume's faces the mask goes on, so cut lungs stay cut."""
    return ~dilate(~mask, radius_kji)


def dilate(mask: Mask, radius_kji: Sequence[int]) -> Mask:
    """Dilate by a rounded box.

    Crosses and boxes in turn, one voxel at a time, come close to a ball, and shifting whole
    arrays is several times faster than SimpleITK's ball.
    """
    out = mask
    for step in range(max(radius_kji)):
        axes = [axis for axis in range(3) if radius_kji[axis] > step]
        source = out
        out = source.copy()
        for axis in axes:
            if step % 2:
                source = out.copy()
            now, before = np.moveaxis(out, axis, 0), np.moveaxis(source, axis, 0)
            now[1:] |= before[:-1]
            now[:-1] |= before[1:]
    return out if out is not mask else mask.copy()


def close(mask: Mask, radius_kji: Sequence[int]) -> Mask:
    """Close by a rounded box without sticking to the sides; first and last slice go on."""
    k, j, i = radius_kji
    padded = np.pad(np.pad(mask, ((k, k), (0, 0), (0, 0)), mode="edge"), ((0, 0), (j, j), (i, i)))
    closed = erode(dilate(padded, radius_kji), radius_kji)
    slices, rows, columns = mask.shape
    return closed[k : k + slices, j : j + rows, i : i + columns]


def fill_holes(mask: Mask) -> Mask:
    """Add what the mask encloses on all sides; what reaches a face of the array is not enclosed."""
    filled = SimpleITK.BinaryFillhole(to_image(mask), fullyConnected=False)
    out: Mask = SimpleITK.GetArrayFromImage(filled).view(np.bool_)
    return out


def label(mask: Mask) -> NDArray[np.uint32]:
    """Number the 6-connected components from 1, the largest first."""
    components = SimpleITK.RelabelComponent(SimpleITK.ConnectedComponent(to_image(mask)))
    return SimpleITK.GetArrayFromImage(components).astype(np.uint32, copy=False)


def label_planes(mask: Mask) -> NDArray[np.uint32]:
    """Number the 4-connected components of each slice, all slices with different numbers."""
    slices, rows, columns = mask.shape
    # Slices laid out one below the other, an empty row between them, are one plane to label.
    sheet = np.zeros((slices, rows + 1, columns), np.uint8)
    sheet[:, :rows] = mask
    components = SimpleITK.ConnectedComponent(
        SimpleITK.GetImageFromArray(sheet.reshape(-1, columns))
    )
    found = SimpleITK.GetArrayFromImage(components).reshape(slices, rows + 1, columns)
    return found[:, :rows].astype(np.uint32, copy=False)


def boxes(numbers: NDArray[np.uint32], margin: tuple[int, int, int]) -> list[tuple[int, Box]]:
    """Bounding boxes, with a margin, of all components but the background."""
    k, j, i = np.nonzero(numbers)
    number = numbers[k, j, i]
    size = int(number.max(initial=0)) + 1
    bounds = []
    for index, reach, limit in zip((k, j, i), margin, numbers.shape, strict=True):
        low, high = np.full(size, 1 << 30), np.full(size, -1)
        np.minimum.at(low, number, index)
        np.maximum.at(high, number, index)
        bounds.append((np.maximum(low - reach, 0), np.minimum(high + reach + 1, limit), high))
    return [
        (n, tuple(slice(int(low[n]), int(high[n])) for low, high, _ in bounds))
        for n in range(1, size)
        if bounds[0][2][n] >= 0
    ]


def bounding_box(mask: Mask, margin: Sequence[int] = (0, 0, 0)) -> Box:
    """The smallest box, with a margin, that holds a mask which is not empty."""
    sides = []
    for axis, reach in enumerate(margin):
        others = tuple(each for each in range(3) if each != axis)
        hit = np.flatnonzero(mask.any(others))
        sides.append(slice(max(int(hit[0]) - reach, 0), int(hit[-1]) + reach + 1))
    return sides[0], sides[1], sides[2]


def grow(markers: NDArray[np.uint8], mask: Mask, spacing_mm: Sequence[float]) -> NDArray[np.uint8]:
    """Grow markers over the mask that they lie in; they meet where the mask is narrow."""
    image = to_image(mask)
    image.SetSpacing([float(each) for each in spacing_mm[::-1]])
    depth = SimpleITK.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    seeds = to_image(markers)
    seeds.CopyInformation(image)
    basins = SimpleITK.MorphologicalWatershedFromMarkers(
        depth, seeds, markWatershedLine=False, fullyConnected=False
    )
    grown: NDArray[np.uint8] = SimpleITK.GetArrayFromImage(basins)
    return np.where(mask, grown, 0).astype(np.uint8)
