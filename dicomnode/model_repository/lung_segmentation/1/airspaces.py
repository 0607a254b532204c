"""Air within the body on the coarse grid, and what of it is no lung: airways and lone gas."""

from __future__ import annotations

import numpy as np
from coarse import Coarse, Mask, boxes, dilate, erode, label, label_planes
from numpy.typing import NDArray

# Air around the patient reads -1000 HU, give or take calibration and scatter; a slice of lung that
# a small field of view cuts reads -900 to -700.
_OUTSIDE_AIR_BELOW_HU = -950
_AIRY_EDGE = 0.2
_TISSUE_ABOVE_HU = -250
_GAS_BELOW_HU = -950


def outside_air(coarse: Coarse) -> Mask:
    """Find everything that surrounds the body: air, clothes, mattress and padding.

    In each slice, what is open to the edge of the image, or of the reconstructed circle, is
    outside if air lies along much of that edge.  Where the field of view cuts the body, lung lies
    there instead, and stays inside.
    """
    open_space = (coarse.hu < _TISSUE_ABOVE_HU) & ~coarse.padding
    planes = label_planes(open_space)
    edge = np.zeros(open_space.shape, np.bool_)
    edge[:, [0, -1], :] = edge[:, :, [0, -1]] = True
    edge[:, 1:] |= coarse.padding[:, :-1]
    edge[:, :-1] |= coarse.padding[:, 1:]
    edge[:, :, 1:] |= coarse.padding[:, :, :-1]
    edge[:, :, :-1] |= coarse.padding[:, :, 1:]
    edge &= open_space
    size = int(planes.max()) + 1
    along = np.bincount(planes[edge], minlength=size)
    airy = np.bincount(planes[edge & (coarse.hu < _OUTSIDE_AIR_BELOW_HU)], minlength=size)
    outside = airy > _AIRY_EDGE * along
    outside[0] = False
    return outside[planes] | coarse.padding


def body_tissue(coarse: Coarse) -> Mask:
    """Find the patient's soft tissue and bone, without the thin shells of table and clothes."""
    tissue = (coarse.hu > _TISSUE_ABOVE_HU) & ~coarse.padding
    _, j, i = coarse.radius(4.0)
    thick = dilate(erode(tissue, (0, j, i)), (0, j, i))
    parts = label(thick)
    sizes = np.bincount(parts.ravel())
    if len(sizes) < 2:
        return np.zeros(tissue.shape, np.bool_)
    kept = sizes >= 0.05 * sizes[1]
    kept[0] = False
    return kept[parts]


def airways(coarse: Coarse, inside: Mask) -> Mask:
    """Find trachea and main bronchi with their walls.

    The trachea is a round, air-filled spot near the midline that goes on from slice to slice.
    From it the lumen is followed at rising thresholds, as long as it does not spill into a lung
    (after Hu, Hoffman and Reinhardt, IEEE TMI 2001, doi:10.1109/42.929615).
    """
    trachea = _trachea(coarse, inside)
    empty = np.zeros(inside.shape, np.bool_)
    if not trachea.any():
        return empty
    start_ml = float(trachea.sum()) * coarse.voxel_ml
    found, found_ml = trachea, start_ml
    for threshold in (-950, -925, -900, -875, -850):
        components = label((inside & (coarse.hu < threshold)) | trachea)
        lumen = components == components[trachea][0]
        lumen_ml = float(lumen.sum()) * coarse.voxel_ml
        # Main bronchi and pharynx hold about what the trachea does; much more is a leak.
        if lumen_ml > 3.0 * start_ml + 20.0 or lumen_ml > 2.0 * found_ml + 5.0:
            break
        found, found_ml = lumen, lumen_ml
    k, j, i = coarse.radius(2.0)
    return dilate(found, (k, j, i))


def _trachea(coarse: Coarse, inside: Mask) -> Mask:
    """Follow round air-filled spots from slice to slice; the longest chain is the trachea."""
    hu = coarse.hu
    air = inside & (hu < -850)
    planes = label_planes(air)
    spots = _round_spots(coarse, planes)
    best: list[int] = []
    chains: dict[int, list[int]] = {}
    for k in range(hu.shape[0]):
        grown: dict[int, list[int]] = {}
        for spot in spots.get(k, ()):
            below = planes[k - 1][planes[k] == spot] if k else np.zeros(0, np.uint32)
            tails = [chains[int(each)] for each in np.unique(below) if int(each) in chains]
            longest = max(tails, key=len, default=[])
            grown[spot] = [*longest, spot]
            best = max(best, grown[spot], key=len)
        chains = grown
    if len(best) * coarse.spacing_mm[0] < 15.0:
        return np.zeros(air.shape, np.bool_)
    return np.isin(planes, best) & (planes > 0)


def _round_spots(coarse: Coarse, planes: NDArray[np.uint32]) -> dict[int, list[int]]:
    """Components of a slice that may be a section of a trachea, by slice."""
    numbers = planes.ravel()
    order = np.flatnonzero(numbers)
    found: dict[int, list[int]] = {}
    if not order.size:
        return found
    k, j, i = np.unravel_index(order, planes.shape)
    number = numbers[order]
    count = np.bincount(number)
    last = len(count)
    area_cm2 = count * coarse.spacing_mm[1] * coarse.spacing_mm[2] / 100.0
    extents = []
    for index, mm in ((j, coarse.spacing_mm[1]), (i, coarse.spacing_mm[2])):
        low, high = np.full(last, 1 << 30), np.full(last, -1)
        np.minimum.at(low, number, index)
        np.maximum.at(high, number, index)
        extents.append((high - low + 1) * mm)
    mean_hu = np.bincount(number, coarse.hu.ravel()[order]) / np.maximum(count, 1)
    slice_of = np.zeros(last, np.int64)
    slice_of[number] = k
    height, width = extents
    filled = area_cm2 * 100.0 / np.maximum(height * width, 1.0)
    round_enough = (
        (count > 0)
        & (area_cm2 > 0.2)
        & (area_cm2 < 7.0)
        & (filled > 0.5)
        & (np.maximum(height, width) < 2.2 * np.minimum(height, width) + coarse.spacing_mm[1])
        & (mean_hu < -880)
    )
    for each in np.flatnonzero(round_enough):
        found.setdefault(int(slice_of[each]), []).append(int(each))
    return found


def lone_gas(coarse: Coarse, inside: Mask) -> Mask:
    """Find blobs of pure gas that tissue surrounds: stomach, bowel, sinuses, hollow phantoms.

    Emphysema and bullae are pure gas too, but lie among lung.
    """
    gas = inside & (coarse.hu < _GAS_BELOW_HU)
    k, j, i = coarse.radius(3.0)
    k = min(k, 1)
    blobs = label(dilate(erode(gas, (k, j, i)), (k, j, i)) & gas)
    drop = np.zeros(gas.shape, np.bool_)
    for number, box in boxes(blobs, margin=coarse.radius(8.0)):
        blob = blobs[box] == number
        near = dilate(blob, coarse.radius(4.0)) & inside[box]
        shell = dilate(blob, coarse.radius(8.0)) & ~near
        around = coarse.hu[box][shell]
        if not around.size or np.mean((around > -950) & (around < -500)) < 0.4:
            drop[box] |= near
    return drop
