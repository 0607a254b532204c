"""Tubes through a volume: airways, and vessels that branch.  Where they start is anatomy's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """A straight tube with round ends.

    Attributes
    ----------
    start, end : tuple of float
        x, y, z in mm.
    radius_mm : float
    """

    start: Point
    end: Point
    radius_mm: float


def grow_tree(
    rng: np.random.Generator, start: Point, radius_mm: float, *, count: int, outward_x: float
) -> list[Tube]:
    """Grow a tree of vessels from a hilum: each branch splits in two thinner ones.

    Parameters
    ----------
    rng : numpy.random.Generator
    start : tuple of float
        x, y, z of the hilum in mm.
    radius_mm : float
        Of the trunk.
    count : int
        How many tubes to make.
    outward_x : float
        -1 towards the right side, 1 towards the left.
    """
    trunks = [
        (outward_x, b, c)
        for b, c in ((0.2, 0.9), (-0.9, 0.5), (0.9, -0.3), (0.1, -1.0), (-0.7, -0.6))
    ]
    ends = [(np.array(start), np.array(each) / np.linalg.norm(each), radius_mm) for each in trunks]
    tubes: list[Tube] = []
    while ends and len(tubes) < count:
        at, along, radius = ends.pop(0)
        tip = at + along * (7.0 + 4.2 * radius) * rng.uniform(0.8, 1.3)
        tubes.append(Tube(start=tuple(at.tolist()), end=tuple(tip.tolist()), radius_mm=radius))
        if radius < 0.7:
            continue
        for share in (0.84, 0.70):
            turned = along + rng.normal(0.0, 0.42, 3)
            ends.append((tip, turned / np.linalg.norm(turned), radius * share))
    return tubes


def tube_voxels(
    tube: Tube,
    shape_kji: Sequence[int],
    spacing_kji_mm: Sequence[float],
    origin_kji_mm: Sequence[float],
) -> Iterator[tuple[Box, NDArray[np.float32]]]:
    """Give the box around a tube and each voxel's distance in mm to the tube's axis, if inside.

    Parameters
    ----------
    tube : Tube
    shape_kji : sequence of int
    spacing_kji_mm : sequence of float
    origin_kji_mm : sequence of float
        z, y, x of voxel (0, 0, 0).
    """
    a, b = np.array(tube.start[::-1]), np.array(tube.end[::-1])
    spacing, origin = np.asarray(spacing_kji_mm, float), np.asarray(origin_kji_mm, float)
    margin = tube.radius_mm + 3.0
    low = np.floor((np.minimum(a, b) - margin - origin) / spacing).astype(int)
    high = np.ceil((np.maximum(a, b) + margin - origin) / spacing).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, shape_kji)
    if (low >= high).any():
        return
    z, y, x = (
        (np.arange(low[n], high[n]) * spacing[n] + origin[n] - a[n]).astype(np.float32)
        for n in range(3)
    )
    dz, dy, dx = (b - a).astype(np.float32)
    z, y, x = z[:, None, None], y[None, :, None], x[None, None, :]
    t = np.clip((z * dz + y * dy + x * dx) / (dz * dz + dy * dy + dx * dx), 0.0, 1.0)
    distance = np.sqrt((z - t * dz) ** 2 + (y - t * dy) ** 2 + (x - t * dx) ** 2)
    k, j, i = (slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    yield (k, j, i), distance
