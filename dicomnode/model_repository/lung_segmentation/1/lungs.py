"""Left and right lung in a CT volume, by classical image analysis.  No learned weights, no Triton.

Air within the body that reads like lung is found on a grid of about 2 mm, freed of airways and
gas, told apart into left and right and closed over vessels; the edge is then drawn at full
resolution.  Nothing looks at the table's side or at gravity, so patients may lie as they like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from airspaces import airways, body_tissue, lone_gas, outside_air
from coarse import (
    Box,
    Coarse,
    Mask,
    bounding_box,
    boxes,
    close,
    dilate,
    erode,
    fill_holes,
    grow,
    label,
    reduce,
)
from numpy.typing import NDArray
from refine import draw_edge

LEFT, RIGHT = 1, 2

_LUNG_BELOW_HU = -350
_MIN_EXTENT_MM = 40.0
_MIN_PART_ML = 1.0
_CLOSING_MM = 10.0
# What smoothed lung reads: aerated, not pure gas; ground glass above that is restored by closing.
_LUNG_HU = (-935, -500)
_BONE_HU = 200


def segment_lungs(
    hu: NDArray[np.int16],
    spacing_kji_mm: Sequence[float],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Label the lungs of a CT volume.

    Parameters
    ----------
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units; slices to the head, rows to the back, columns to the patient's left.
    spacing_kji_mm : sequence of float
        Slice, row and column spacing.
    out : numpy.ndarray, shape and dtype of the result, optional
        All 0; filled and returned.

    Returns
    -------
    numpy.ndarray, shape (slices, rows, columns), dtype uint8
        0 elsewhere, 1 left lung, 2 right lung; all 0 where there is no lung.

    Raises
    ------
    ValueError
        If the volume has not three axes, or a spacing is not above 0.
    """
    if hu.ndim != 3:
        raise ValueError(f"wanted a volume of three axes, found shape {hu.shape}")
    if len(spacing_kji_mm) != 3 or not all(0 < float(each) < np.inf for each in spacing_kji_mm):
        raise ValueError(f"wanted three spacings above 0 mm, found {list(spacing_kji_mm)}")
    labels = np.zeros(hu.shape, np.uint8) if out is None else out
    extent = [n * float(mm) for n, mm in zip(hu.shape, spacing_kji_mm, strict=True)]
    if hu.shape[0] < 3 or min(extent[1:]) < _MIN_EXTENT_MM:
        return labels
    coarse = reduce(hu, spacing_kji_mm)
    found, airway = find_lungs(coarse)
    if found.any():
        draw_edge(hu, coarse, found, airway, labels)
    return labels


def find_lungs(coarse: Coarse) -> tuple[NDArray[np.uint8], Mask]:
    """Label the lungs on the coarse grid, and return the airways beside them."""
    found = np.zeros(coarse.hu.shape, np.uint8)
    airway = np.zeros(coarse.hu.shape, np.bool_)
    tissue = body_tissue(coarse)
    if not tissue.any():
        return found, airway
    inside = ~outside_air(coarse)
    # The rest of the work needs the body alone, which is often less than half of the image.
    body = bounding_box(tissue)
    coarse, tissue, inside = coarse.crop(body), tissue[body], inside[body]
    airway[body] = airways(coarse, inside)
    air = inside & (coarse.hu < _LUNG_BELOW_HU) & ~airway[body]
    air &= ~lone_gas(coarse, air)
    lung = _lung_like(coarse, air, tissue)
    if lung.any():
        found[body] = _close_vessels(coarse, _tell_apart(coarse, lung, tissue), airway[body])
    return found, airway


def _close_vessels(coarse: Coarse, sides: NDArray[np.uint8], airway: Mask) -> NDArray[np.uint8]:
    """Close each lung over vessels and what it encloses, never into the other or an airway.

    What lies within one lung on all sides belongs to it, however dense: consolidation, a mass, a
    bulla.  Heart, diaphragm and chest wall are never enclosed, for the body goes on behind them.
    """
    closed = sides.copy()
    for side in (LEFT, RIGHT):
        lung = sides == side
        if lung.any():
            box = bounding_box(lung, coarse.radius(_CLOSING_MM))
            filled = fill_holes(close(lung[box], coarse.radius(_CLOSING_MM))) & ~airway[box]
            closed[box][filled & (closed[box] == 0)] = side
    return closed


def _lung_like(coarse: Coarse, air: Mask, tissue: Mask) -> Mask:
    """Keep the airspaces that look like lung, on their own or beside one that does."""
    k, j, i = coarse.radius(2.0)
    k = min(k, 1)
    parts = label(erode(air, (k, j, i)))
    near_gas = dilate(air & (coarse.hu < -950), (2 * k, 2 * j, 2 * i))
    body_area = np.maximum((tissue | air).sum((1, 2)), 1)
    anchors, others = [], []
    for number, box in boxes(parts, (0, *coarse.radius(8.0)[1:])):
        part = parts[box] == number
        core_ml = float(part.sum()) * coarse.voxel_ml
        if core_ml < _MIN_PART_ML:
            break  # the largest come first
        values = coarse.hu[box][part]
        likely = (values > _LUNG_HU[0]) & (values < _LUNG_HU[1])
        # The rim of any gas bubble reads like lung; lung reads so away from gas as well.
        away = float(np.mean(likely & ~near_gas[box][part]))
        enclosed, bony = _surroundings(coarse, part, box, tissue)
        if enclosed < 0.5 or bony > 0.45:
            continue
        share = float((part.sum((1, 2)) / body_area[box[0]]).max())
        levels = np.flatnonzero(part.any((1, 2))) + box[0].start
        to_top = levels[-1] == len(air) - 1
        height_mm = len(levels) * coarse.spacing_mm[0]
        looks = away > 0.25 or (likely.mean() > 0.3 and core_ml > 200.0)
        # A whole lung fills much of its slices; only one that the scan cuts below its
        # widest may be less.  Bowel does neither.
        big = share > 0.02 if to_top else (share > 0.05 and height_mm > 25.0)
        if looks and big and core_ml > 5.0 and np.median(values) < -560:
            anchors.append(number)
        elif away > 0.5:
            others.append(number)
    kept = np.isin(parts, anchors)
    if others and anchors:
        close_by = dilate(kept, coarse.radius(12.0))
        others = [each for each in others if close_by[parts == each].any()]
        kept |= np.isin(parts, others)
    return dilate(kept, (k, j, i)) & air


def _surroundings(coarse: Coarse, part: Mask, box: Box, tissue: Mask) -> tuple[float, float]:
    """Shares of tissue and of bone in a layer around a part, 6 to 8 mm from it, slice by slice.

    What lies beyond the edge of the image is no tissue.
    """
    _, j, i = coarse.radius(2.0)
    edge = ((0, 0), (4 * j, 4 * j), (4 * i, 4 * i))
    inner = dilate(np.pad(part, edge), (0, 3 * j, 3 * i))
    layer = dilate(inner, (0, j, i)) & ~inner
    count = max(int(layer.sum()), 1)
    in_tissue = np.pad(tissue[box], edge)[layer].sum()
    in_bone = (np.pad(coarse.hu[box], edge)[layer] > _BONE_HU).sum()
    return float(in_tissue) / count, float(in_bone) / count


def _tell_apart(coarse: Coarse, lung: Mask, tissue: Mask) -> NDArray[np.uint8]:
    """Label left and right, also where the lungs touch before or behind the heart."""
    levels = lung.any((1, 2))
    across = tissue[levels].any((0, 1))
    body_width = float(np.ptp(np.flatnonzero(across))) + 1.0
    middle = float(np.nonzero(tissue[levels])[2].mean())
    out = np.zeros(lung.shape, np.uint8)
    box = bounding_box(lung)
    part = lung[box]
    columns = np.arange(box[2].start, box[2].stop, dtype=np.float64)
    markers = label(part)
    # Where only two pleurae lie between the lungs, a stricter threshold shows them; where not even
    # they are seen, the lungs are cut where they meet most narrowly.
    tries = [(hu, mm) for mm in (2.0, 4.0, 6.0) for hu in (_LUNG_BELOW_HU, -500, -650)]
    tries += [(_LUNG_BELOW_HU, mm) for mm in (8.0, 12.0, 16.0, 20.0, 24.0)]
    for threshold, mm in tries:
        k, j, i = coarse.radius(mm)
        eroded = label(erode(part & (coarse.hu[box] < threshold), (min(k, 2), j, i)))
        first, second = ((eroded == n).sum((0, 1)) for n in (1, 2))
        if second.sum() < 0.1 * first.sum() or not second.any():
            continue
        centers = [float((each @ columns) / each.sum()) for each in (first, second)]
        if abs(centers[0] - centers[1]) > body_width / 6:
            markers, middle = eroded, sum(centers) / 2
            break
    size = int(markers.max()) + 1
    count, center = np.zeros(size), np.zeros(size)
    for column, i in enumerate(columns):
        here = np.bincount(markers[:, :, column].ravel(), minlength=size)
        count += here
        center += here * i
    side_of = np.where(center > middle * count, LEFT, RIGHT).astype(np.uint8)
    side_of[0] = 0
    out[box] = grow(side_of[markers], part, coarse.spacing_mm)
    return out
