"""Opacity burden: how much of the lungs is denser than aerated lung.  A formula, nothing learned.

Within the lungs the density is averaged over about 2 mm.  What then reads `OPACITY_HU` and is
thicker than a vessel (an opening with a ball of `VESSEL_RADIUS_MM`) counts as opacity, up to
`GROUND_GLASS_BELOW_HU` as ground glass and above as consolidation.  It tells no cause: pneumonia,
edema, atelectasis, tumor and a scan in expiration all raise it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK
from numpy.typing import NDArray

LEFT, RIGHT = 1, 2

# High attenuation areas, lung that is neither aerated nor solid, are -600 to -250 HU in the MESA
# study (Podolanczuk et al., Eur Respir J 2016;48:1442-1452); above lies consolidation.  Lung in
# shallow inspiration reads -750 to -650 and must not count.
OPACITY_HU = (-600, 150)
GROUND_GLASS_BELOW_HU = -250
VESSEL_RADIUS_MM = 4.0

_TARGET_MM = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Burden:
    """Opacified volume in percent of lung volume; 0 where there is no lung.

    Attributes
    ----------
    both, left, right : float
        Of both lungs' volume, and of each lung's own.
    ground_glass, consolidation : float
        The two parts of `both`.
    """

    both: float
    left: float
    right: float
    ground_glass: float
    consolidation: float

    def as_tuple(self) -> tuple[float, float, float, float, float]:
        """Return the numbers in the order of the manifest's measurements."""
        return self.both, self.left, self.right, self.ground_glass, self.consolidation


def opacity_burden(
    hu: NDArray[np.int16], spacing_kji_mm: Sequence[float], labels: NDArray[np.uint8]
) -> Burden:
    """Measure how much of each lung is opacified.

    Parameters
    ----------
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units.
    spacing_kji_mm : sequence of float
        Slice, row and column spacing.
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        1 left lung, 2 right lung, anything else is left out.

    Raises
    ------
    ValueError
        If volume and label map differ in shape, or a spacing is not above 0.
    """
    found = _find(hu, spacing_kji_mm, labels)
    if found is None:
        return Burden(both=0.0, left=0.0, right=0.0, ground_glass=0.0, consolidation=0.0)
    opaque, glass = found.opaque, found.glass

    def percent(part: NDArray[np.bool_], weight: NDArray[np.int32]) -> float:
        whole = int(weight.sum())
        return 100.0 * int(weight[part].sum()) / whole if whole else 0.0

    both = found.left + found.right
    return Burden(
        both=percent(opaque, both),
        left=percent(opaque, found.left),
        right=percent(opaque, found.right),
        ground_glass=percent(glass, both),
        consolidation=percent(opaque & ~glass, both),
    )


def opacity_map(
    hu: NDArray[np.int16],
    spacing_kji_mm: Sequence[float],
    labels: NDArray[np.uint8],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Show where the lungs are opacified: the same blocks that `opacity_burden` counts.

    Parameters
    ----------
    hu, spacing_kji_mm, labels
        As for `opacity_burden`.
    out : numpy.ndarray, shape and dtype of the result, optional
        All 0; filled and returned.

    Returns
    -------
    numpy.ndarray, shape (slices, rows, columns), dtype uint8
        1 ground glass, 2 consolidation, within the lungs only.

    Raises
    ------
    ValueError
        As `opacity_burden`.
    """
    out = np.zeros(hu.shape, np.uint8) if out is None else out
    found = _find(hu, spacing_kji_mm, labels)
    if found is None or not found.opaque.any():
        return out
    kinds = np.where(found.opaque, np.where(found.glass, 1, 2), 0).astype(np.uint8)
    fk, fj, fi = found.factors
    part, lungs = out[found.box], labels[found.box]
    rows, columns = np.arange(part.shape[1]) // fj, np.arange(part.shape[2]) // fi
    for k, (plane, marks) in enumerate(zip(part, lungs, strict=True)):
        inside = (marks == LEFT) | (marks == RIGHT)
        plane[inside] = kinds[k // fk][rows][:, columns][inside]
    return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """Opacified blocks within the lungs' box, and how many voxels of each lung a block holds."""

    box: tuple[slice, slice, slice]
    factors: tuple[int, ...]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    opaque: NDArray[np.bool_]
    glass: NDArray[np.bool_]


def _find(
    hu: NDArray[np.int16], spacing_kji_mm: Sequence[float], labels: NDArray[np.uint8]
) -> _Found | None:
    """Find opacified blocks; None where there is no lung."""
    if hu.ndim != 3 or hu.shape != labels.shape:
        raise ValueError(f"wanted labels of the volume's shape {hu.shape}, found {labels.shape}")
    if len(spacing_kji_mm) != 3 or not all(0 < float(each) < np.inf for each in spacing_kji_mm):
        raise ValueError(f"wanted three spacings above 0 mm, found {list(spacing_kji_mm)}")
    box = _lung_box(labels)
    if box is None:
        return None
    factors = tuple(max(1, round(_TARGET_MM / float(each))) for each in spacing_kji_mm)
    left, right, density = _average(hu[box], labels[box], factors)

    dense = ((density >= OPACITY_HU[0]) & (density <= OPACITY_HU[1])).astype(np.uint8)
    opaque = _drop_vessels(
        dense, [float(mm) * f for mm, f in zip(spacing_kji_mm, factors, strict=True)]
    )
    return _Found(
        box=box,
        factors=factors,
        left=left,
        right=right,
        opaque=opaque,
        glass=opaque & (density < GROUND_GLASS_BELOW_HU),
    )


def _lung_box(labels: NDArray[np.uint8]) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds both lungs.

    Slice by slice: marks of the whole volume would be memory to fetch anew for every request.
    """
    slices, rows, columns = labels.shape
    flat = np.zeros((rows, columns), np.bool_)
    first, last = slices, -1
    for k, plane in enumerate(labels):
        lung = (plane == LEFT) | (plane == RIGHT)
        if lung.any():
            first, last = min(first, k), k
            flat |= lung
    if last < 0:
        return None
    j, i = np.flatnonzero(flat.any(1)), np.flatnonzero(flat.any(0))
    return (
        slice(first, last + 1),
        slice(int(j[0]), int(j[-1]) + 1),
        slice(int(i[0]), int(i[-1]) + 1),
    )


def _average(
    hu: NDArray[np.int16], labels: NDArray[np.uint8], factors: tuple[int, ...]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]:
    """Voxels of each lung in blocks, and the mean density of the lung in each block.

    Only lung voxels are averaged, so that the chest wall does not bleed into the lung's edge.
    """
    fk, fj, fi = factors
    slices, rows, columns = hu.shape
    shape = -(-slices // fk), -(-rows // fj), -(-columns // fi)
    left, right = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    density = np.full(shape, -1000, np.int16)
    edges = ((0, shape[1] * fj - rows), (0, shape[2] * fi - columns))
    for k in range(shape[0]):
        total = np.zeros(shape[1:], np.int32)
        for plane, marks in zip(
            hu[k * fk : (k + 1) * fk], labels[k * fk : (k + 1) * fk], strict=True
        ):
            marked = np.pad(marks, edges)
            values = np.pad(np.clip(plane, -1000, 1000), edges)
            values[(marked != LEFT) & (marked != RIGHT)] = 0
            for j in range(fj):
                for i in range(fi):
                    total += values[j::fj, i::fi]
                    left[k] += marked[j::fj, i::fi] == LEFT
                    right[k] += marked[j::fj, i::fi] == RIGHT
        count = left[k] + right[k]
        density[k][count > 0] = total[count > 0] // count[count > 0]
    return left, right, density


def _drop_vessels(dense: NDArray[np.uint8], spacing_mm: Sequence[float]) -> NDArray[np.bool_]:
    """Keep what is thicker than a vessel: an opening, then one step back to the rounded edges."""
    radius = [int(VESSEL_RADIUS_MM / mm + 0.5) for mm in spacing_mm[::-1]]
    image = SimpleITK.GetImageFromArray(dense)
    opened = SimpleITK.BinaryMorphologicalOpening(image, radius, SimpleITK.sitkBall)
    restored = SimpleITK.BinaryDilate(opened, [min(each, 1) for each in radius], SimpleITK.sitkBall)
    kept: NDArray[np.bool_] = (SimpleITK.GetArrayViewFromImage(restored) != 0) & (dense != 0)
    return kept
