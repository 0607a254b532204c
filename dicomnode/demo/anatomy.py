"""Where things lie in the made-up thorax, slice by slice.  Shapes only: no noise, no files.

Coordinates are millimeters: x to the patient's left and y to the back, both 0 at the middle of the
image, z to the head from 0 at the middle of the liver to 320 above the shoulders.  The thorax is
drawn after textbook proportions; it is nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.demo.branches import Tube

Plane = NDArray[np.float32]
Mask = NDArray[np.bool_]

LEFT: Final = 1
RIGHT: Final = 2

HEIGHT_MM: Final = 320.0
AIR_HU, FAT_HU, MUSCLE_HU, LUNG_HU, BLOOD_HU, BONE_HU = -1000, -100, 55, -860, 150, 300

_CARINA = (0.0, 18.0, 196.0)
AIRWAYS: Final = (
    Tube(start=(0.0, 2.0, HEIGHT_MM + 20.0), end=_CARINA, radius_mm=8.5),
    Tube(start=_CARINA, end=(-42.0, 22.0, 166.0), radius_mm=6.5),
    Tube(start=_CARINA, end=(52.0, 26.0, 160.0), radius_mm=6.0),
)
HILA: Final = {RIGHT: (-44.0, 16.0, 160.0), LEFT: (52.0, 20.0, 160.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Opacity:
    """A patch of dense lung.

    Attributes
    ----------
    center_mm, radii_mm : tuple of float
        x, y, z of an ellipsoid.
    hu : int
        What the lung reads within it.
    """

    center_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    hu: int


OPACITIES: Final = (
    Opacity(center_mm=(-95.0, 52.0, 120.0), radii_mm=(26.0, 22.0, 24.0), hu=-480),
    Opacity(center_mm=(-78.0, -30.0, 205.0), radii_mm=(18.0, 16.0, 16.0), hu=-520),
    Opacity(center_mm=(92.0, 48.0, 125.0), radii_mm=(22.0, 22.0, 30.0), hu=-450),
    Opacity(center_mm=(72.0, -20.0, 220.0), radii_mm=(13.0, 13.0, 15.0), hu=-500),
    Opacity(center_mm=(-88.0, 62.0, 112.0), radii_mm=(12.0, 10.0, 12.0), hu=-20),
    Opacity(center_mm=(80.0, 40.0, 190.0), radii_mm=(11.0, 10.0, 10.0), hu=10),
)
"""Ground glass first, consolidation over it."""


def draw_slice(x: Plane, y: Plane, z: float) -> tuple[Plane, NDArray[np.uint8]]:
    """Draw one axial slice without vessels, airways, opacities and noise.

    Parameters
    ----------
    x : numpy.ndarray, shape (1, columns), dtype float32
    y : numpy.ndarray, shape (rows, 1), dtype float32
    z : float

    Returns
    -------
    hu : numpy.ndarray, shape (rows, columns), dtype float32
    lungs : numpy.ndarray, shape (rows, columns), dtype uint8
        0 elsewhere, 1 left lung, 2 right lung.
    """
    hu = np.full((y.shape[0], x.shape[1]), AIR_HU, np.float32)
    _draw_table(hu, x, y)
    _draw_wall(hu, x, y, z)
    cage = _ellipse(x, y, 0.0, 0.0, *_cage_mm(z))
    lungs = _lungs(cage, x, y, z)
    _draw_inside(hu, cage, x, y, z)
    _draw_bones(hu, x, y, z)
    # Lung at the back is denser, as in someone who lies on it.
    np.copyto(hu, LUNG_HU + 0.35 * (y + 60.0) + 0.0 * x, where=lungs > 0)
    return hu, lungs


def _ellipse(x: Plane, y: Plane, x0: float, y0: float, width: float, depth: float) -> Plane:
    """Below 1 inside an ellipse of these half axes, above outside."""
    inside: Plane = ((x - x0) / width) ** 2 + ((y - y0) / depth) ** 2
    return inside


def _cage_mm(z: float) -> tuple[float, float]:
    """Half width and depth of the space within the ribs: narrow at the apex, wide at the base."""
    up = min(max((z - 130.0) / 172.0, 0.0), 1.0)
    round_off = max(1.0 - up**2.6, 0.0) ** 0.5
    down = min(max((130.0 - z) / 130.0, 0.0), 1.0)
    return (30.0 + 106.0 * round_off) * (1.0 - 0.04 * down), (34.0 + 58.0 * round_off)


def _lungs(cage: Plane, x: Plane, y: Plane, z: float) -> NDArray[np.uint8]:
    """Within the ribs, above the diaphragm, beside mediastinum and heart."""
    if z > 296.0:
        return np.zeros(cage.shape, np.uint8)
    # The middle: vertebrae behind, great vessels and airways, thymus in front.
    free = cage < 1.0
    free &= _ellipse(x, y, 0.0, 74.0, 30.0, 34.0) > 1.0
    free &= (
        _ellipse(x, y, 2.0, 5.0, 27.0 + 12.0 * (z > 0) * np.exp(-(((z - 170) / 45) ** 2)), 50.0)
        > 1.0
    )
    free &= np.abs(x - 3.0 - 0.03 * (y + 60.0)) > 4.0
    free &= _ellipse(x, y, 24.0, 48.0, 17.0, 17.0) > 1.0
    free &= ~_within_heart(x, y, z, margin=4.0)
    left = x > 3.0
    dome = np.where(
        left,
        84.0 - 62.0 * _ellipse(x, y, 68.0, -8.0, 78.0, 92.0),
        98.0 - 68.0 * _ellipse(x, y, -66.0, -10.0, 78.0, 92.0),
    )
    free &= z > dome
    return np.where(free, np.where(left, np.uint8(LEFT), np.uint8(RIGHT)), np.uint8(0))


def _within_heart(x: Plane, y: Plane, z: float, *, margin: float) -> Mask:
    """The heart lies to the left and takes a notch out of that lung."""
    rest = 1.0 - ((z - 112.0) / (58.0 + margin)) ** 2
    if rest <= 0.0:
        return np.zeros((y.shape[0], x.shape[1]), np.bool_)
    shrink = rest**0.5
    # Turned by about 35 degrees: the apex points to the left and the front.
    u = 0.82 * (x - 24.0) - 0.57 * (y + 30.0)
    v = 0.57 * (x - 24.0) + 0.82 * (y + 30.0)
    inside: Mask = (u / ((64.0 + margin) * shrink)) ** 2 + (
        v / ((48.0 + margin) * shrink)
    ) ** 2 < 1.0
    return inside


def _draw_table(hu: Plane, x: Plane, y: Plane) -> None:
    """A curved shell around foam."""
    top = 136.0 - 0.0009 * x * x
    hu[(y > top) & (y < top + 26.0)] = -930
    hu[(y > top + 0.5) & (y < top + 2.5)] = -150
    hu[(y > top + 23.5) & (y < top + 26.0)] = -100


def _draw_wall(hu: Plane, x: Plane, y: Plane, z: float) -> None:
    """Skin, fat and muscle around the ribs."""
    shoulders = min(max((z - 220.0) / 100.0, 0.0), 1.0)
    width, depth = 163.0 + 10.0 * shoulders, 118.0 - 8.0 * shoulders
    # A power above 2 makes a trunk, which is squarer than an ellipse.
    skin = np.abs(x / width) ** 2.4 + np.abs((y - 12.0) / depth) ** 2.4
    hu[skin < 1.0] = 30
    hu[skin < 0.965] = FAT_HU
    inner = np.abs(x / (width - 13.0)) ** 2.4 + np.abs((y - 10.0) / (depth - 13.0)) ** 2.4
    hu[inner < 1.0] = MUSCLE_HU
    # Fat between the muscle layers at the sides and under the arms.
    layer = np.abs(inner - 0.86) < 0.035
    hu[layer & (np.abs(x) > 60.0)] = -80


def _draw_inside(hu: Plane, cage: Plane, x: Plane, y: Plane, z: float) -> None:
    """Mediastinum, heart and great vessels above; liver, spleen and stomach below."""
    hu[cage < 1.0] = -85
    if z < 100.0:
        hu[(cage < 0.97) & (x < 18.0)] = 110
        hu[_ellipse(x, y, 88.0, 42.0, 42.0, 44.0) + 0.0 * cage < 1.0] = 120
        stomach = _ellipse(x, y, 66.0, -34.0, 40.0, 34.0)
        hu[stomach < 1.0] = 40
        # Gas collects at the front of someone who lies on the back.
        hu[(stomach < 0.9) & (y < -44.0) & (z < 42.0)] = AIR_HU
        hu[(cage > 0.9) & (cage < 1.0)] = MUSCLE_HU
        if z < 20.0:
            hu[_ellipse(x, y, 60.0, 58.0, 24.0, 20.0) < 1.0] = 160
    within = _within_heart(x, y, z, margin=3.0)
    hu[within] = -70
    hu[_within_heart(x, y, z, margin=0.0)] = MUSCLE_HU
    hu[_within_heart(x, y, z, margin=-12.0) & (np.abs(x - 26.0 - 0.4 * y) > 5.0)] = BLOOD_HU
    if z < 238.0:
        hu[_ellipse(x, y, 24.0, 48.0, 12.5, 12.5) < 1.0] = BLOOD_HU
    if 165.0 < z < 225.0:
        hu[_ellipse(x, y, -8.0, -18.0, 15.0, 15.0) < 1.0] = BLOOD_HU
    if 222.0 < z < 242.0:
        hu[_ellipse(x, y, 9.0, 14.0, 15.0, 42.0) < 1.0] = BLOOD_HU
    if 160.0 < z < 186.0:
        hu[_ellipse(x, y, 12.0, -2.0, 34.0, 11.0) < 1.0] = BLOOD_HU
    if z >= 242.0:
        for x0, y0 in ((-17.0, -8.0), (3.0, -16.0), (18.0, 6.0)):
            hu[_ellipse(x, y, x0, y0, 6.5, 6.5) < 1.0] = BLOOD_HU
    if z > 120.0:
        hu[_ellipse(x, y, -24.0, -14.0, 9.0, 9.0) < 1.0] = 190
    hu[_ellipse(x, y, 8.0, 38.0, 8.0, 6.0) < 1.0] = 35


def _draw_bones(hu: Plane, x: Plane, y: Plane, z: float) -> None:
    """Vertebrae with disks, ribs that slope to the front, sternum, shoulder blades."""
    bone, disk = np.float32(BONE_HU - 80), np.float32(90)
    body = _ellipse(x, y, 0.0, 78.0, 19.0, 16.0)
    between = (z % 26.0) < 5.0
    hu[body < 1.0] = disk if between else 620
    hu[body < 0.8] = disk if between else bone
    arch = _ellipse(x, y, 0.0, 100.0, 15.0, 14.0)
    hu[(arch < 1.0) & (y > 86.0)] = 480
    hu[(np.abs(x) < 3.0 + 0.0 * y) & (y > 104.0) & (y < 124.0)] = (
        420 if (z % 26.0) > 9.0 else MUSCLE_HU
    )
    hu[_ellipse(x, y, 0.0, 100.0, 9.0, 8.0) < 1.0] = 25

    width, depth = _cage_mm(z)
    outward = np.sqrt(_ellipse(x, y, 0.0, 0.0, width + 6.0, depth + 6.0))
    reach_mm = np.abs(outward - 1.0) * 0.5 * (width + depth)
    # A rib starts high at the spine and comes forward some 70 mm lower.
    along = (z - 0.38 * (y - 90.0)) % 25.0
    rib = (reach_mm < 4.5) & (np.abs(along - 12.5) < 6.5) & (y < 96.0) & (np.abs(x) > 16.0)
    cartilage = (y < -0.72 * depth) & (z < 240.0)
    hu[rib] = 520
    hu[rib & (reach_mm < 2.6) & (np.abs(along - 12.5) < 4.5)] = bone
    hu[rib & cartilage] = 110
    if 95.0 < z < 255.0:
        sternum = _ellipse(x, y, 0.0, -depth - 8.0, 20.0, 6.5)
        hu[sternum < 1.0] = 480
        hu[sternum < 0.65] = bone
    if z > 175.0:
        for side in (-1.0, 1.0):
            blade = np.abs((y - 76.0) + 0.62 * (side * x - 98.0))
            hu[(blade < 3.5) & (side * x > 74.0) & (side * x < 134.0)] = 450
    if z > 262.0:
        for side in (-1.0, 1.0):
            collar = np.abs((y + 56.0) - 0.22 * (side * x - 20.0))
            hu[(collar < 6.0) & (side * x > 22.0) & (side * x < 130.0) & (z < 282.0)] = 480
