"""A made-up chest CT: voxels, the lungs in them, and the series as files.  Nothing of a patient.

Shapes are in `anatomy`, vessels in `branches`, headers in `series`; here they become an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.demo.anatomy import AIRWAYS, HILA, LEFT, OPACITIES, RIGHT, draw_slice
from dicomnode.demo.branches import grow_tree, tube_voxels
from dicomnode.demo.series import write_ct_series

SPACING_KJI_MM = (2.5, 0.7, 0.7)

_NOISE_HU = 22.0
_VESSEL_HU = 40
_WALL_MM = 1.6
_BOTTOM_LPS_Z = -300.0


def chest_ct(
    *,
    slices: int = 128,
    rows: int = 512,
    columns: int = 512,
    spacing_kji_mm: Sequence[float] = SPACING_KJI_MM,
    seed: int = 20260105,
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Make a chest CT and the lungs that are in it.

    The thorax is 346 mm wide and 320 mm high; a smaller field of view cuts it.  Two ground glass
    patches and a consolidation lie in each lung (`anatomy.OPACITIES`).

    Parameters
    ----------
    slices, rows, columns : int
    spacing_kji_mm : sequence of float
        Slice, row and column spacing.
    seed : int
        For noise and vessels; the same seed makes the same voxels.

    Returns
    -------
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units; slices to the head, rows to the back, columns to the patient's left.
    truth : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        0 elsewhere, 1 left lung, 2 right lung, with vessels and opacities, without airways.

    Raises
    ------
    ValueError
        If a count is below 1 or a spacing not above 0.
    """
    shape = (slices, rows, columns)
    if min(shape) < 1 or len(spacing_kji_mm) != 3 or not all(mm > 0 for mm in spacing_kji_mm):
        raise ValueError(
            f"wanted counts of at least 1 and three spacings above 0 mm, "
            f"found {shape} and {tuple(spacing_kji_mm)}"
        )
    rng = np.random.default_rng(seed)
    origin = _origin_kji_mm(shape, spacing_kji_mm)
    z, y, x = (
        (np.arange(n) * mm + first).astype(np.float32)
        for n, mm, first in zip(shape, spacing_kji_mm, origin, strict=True)
    )
    hu = np.empty(shape, np.int16)
    truth = np.empty(shape, np.uint8)
    for k in range(slices):
        plane, truth[k] = draw_slice(x[None, :], y[:, None], float(z[k]))
        hu[k] = plane
    _draw_vessels(hu, truth, spacing_kji_mm, origin, rng)
    _draw_airways(hu, truth, spacing_kji_mm, origin)
    _draw_opacities(hu, truth, z, y, x)
    for k in range(slices):
        _image_slice(hu[k], rng)
    return hu, truth


def opacity_percent(truth: NDArray[np.uint8], spacing_kji_mm: Sequence[float]) -> float:
    """Return what share of both lungs' volume the phantom's opacities fill, in percent."""
    origin = _origin_kji_mm(truth.shape, spacing_kji_mm)
    inside = np.zeros(truth.shape, np.bool_)
    z, y, x = (
        (np.arange(n) * mm + first).astype(np.float32)
        for n, mm, first in zip(truth.shape, spacing_kji_mm, origin, strict=True)
    )
    for opacity in OPACITIES:
        inside |= _ellipsoid(z, y, x, opacity.center_mm, opacity.radii_mm) < 1.0
    lung = truth > 0
    return 100.0 * float((inside & lung).sum()) / max(int(lung.sum()), 1)


def write_series(
    folder: Path,
    *,
    slices: int = 128,
    rows: int = 512,
    columns: int = 512,
    spacing_kji_mm: Sequence[float] = SPACING_KJI_MM,
    seed: int = 20260105,
    uid_seed: int | None = None,
    transfer_syntax: str = ExplicitVRLittleEndian,
    attributes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Make a chest CT and write it as CT Image Storage instances.

    Parameters
    ----------
    folder : Path
        Made where it is absent.
    slices, rows, columns, spacing_kji_mm, seed
        As `chest_ct` has them.
    uid_seed : int, optional
        The same one makes the same UIDs; without it they are fresh.
    transfer_syntax, attributes
        As `dicomnode.demo.series.write_ct_series` has them.

    Returns
    -------
    list of Path
        The files in slice order, feet to head.
    """
    hu, _ = chest_ct(
        slices=slices, rows=rows, columns=columns, spacing_kji_mm=spacing_kji_mm, seed=seed
    )
    _, y, x = _origin_kji_mm(hu.shape, spacing_kji_mm)
    return write_ct_series(
        folder,
        hu,
        spacing_kji_mm=spacing_kji_mm,
        origin_lps=(x, y, _BOTTOM_LPS_Z),
        transfer_syntax=transfer_syntax,
        seed=uid_seed,
        attributes=attributes,
    )


def _origin_kji_mm(
    shape: tuple[int, ...], spacing_kji_mm: Sequence[float]
) -> tuple[float, float, float]:
    """z, y and x of voxel (0, 0, 0): the image is centered, the lowest slice lies at 0."""
    _, rows, columns = shape
    _, j_mm, i_mm = (float(each) for each in spacing_kji_mm)
    return 0.0, -(rows - 1) / 2 * j_mm, -(columns - 1) / 2 * i_mm


def _draw_vessels(
    hu: NDArray[np.int16],
    truth: NDArray[np.uint8],
    spacing_kji_mm: Sequence[float],
    origin: Sequence[float],
    rng: np.random.Generator,
) -> None:
    for side, outward in ((LEFT, 1.0), (RIGHT, -1.0)):
        for tube in grow_tree(rng, HILA[side], 5.0, count=900, outward_x=outward):
            for box, distance in tube_voxels(tube, hu.shape, spacing_kji_mm, origin):
                # Thin vessels fill part of a voxel: fade over its width.
                fill = np.clip((tube.radius_mm - distance) / spacing_kji_mm[1] + 0.5, 0.0, 1.0)
                part = hu[box]
                drawn = np.maximum(part, part + (fill * (_VESSEL_HU - part)).astype(np.int16))
                np.copyto(part, drawn, where=truth[box] == side)


def _draw_airways(
    hu: NDArray[np.int16],
    truth: NDArray[np.uint8],
    spacing_kji_mm: Sequence[float],
    origin: Sequence[float],
) -> None:
    tubes = [
        (tube, box, distance)
        for tube in AIRWAYS
        for box, distance in tube_voxels(tube, hu.shape, spacing_kji_mm, origin)
    ]
    for tube, box, distance in tubes:
        wall = distance < tube.radius_mm + _WALL_MM
        hu[box][wall] = 20
        truth[box][wall] = 0
    for tube, box, distance in tubes:
        hu[box][distance < tube.radius_mm] = -985


def _draw_opacities(
    hu: NDArray[np.int16],
    truth: NDArray[np.uint8],
    z: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
) -> None:
    for opacity in OPACITIES:
        for k in np.flatnonzero(np.abs(z - opacity.center_mm[2]) < opacity.radii_mm[2] * 1.1):
            inside = _ellipsoid(z[k : k + 1], y, x, opacity.center_mm, opacity.radii_mm)[0]
            # From the full density within to nothing a little outside.
            fill = np.clip((1.12 - inside) / 0.24, 0.0, 1.0)
            plane = hu[k]
            drawn = np.maximum(plane, plane + fill * (opacity.hu - plane))
            np.copyto(plane, drawn.astype(np.int16), where=truth[k] > 0)


def _ellipsoid(
    z: NDArray[np.float32],
    y: NDArray[np.float32],
    x: NDArray[np.float32],
    center_mm: tuple[float, float, float],
    radii_mm: tuple[float, float, float],
) -> NDArray[np.float32]:
    """Squared distance to the center in units of the radii, shape (slices, rows, columns)."""
    inside: NDArray[np.float32] = (
        ((x - center_mm[0]) / radii_mm[0])[None, None, :] ** 2
        + ((y - center_mm[1]) / radii_mm[1])[None, :, None] ** 2
        + ((z - center_mm[2]) / radii_mm[2])[:, None, None] ** 2
    )
    return inside


def _image_slice(plane: NDArray[np.int16], rng: np.random.Generator) -> None:
    """What a scanner adds: blur over about a pixel, and noise with some grain."""
    sharp = plane.astype(np.float32)
    noise = rng.standard_normal(plane.shape, dtype=np.float32)
    # The blur takes about 0.61 of white noise away again.
    sharp += noise * (_NOISE_HU / 0.39)
    np.clip(_blur(_blur(sharp, 0), 1), -1024, 3071, out=sharp)
    np.rint(sharp, out=sharp)
    plane[:] = sharp


def _blur(plane: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Average with weights 1, 2, 1 along an axis; edges repeat."""
    moved = np.moveaxis(plane, axis, 0)
    out = moved * np.float32(0.5)
    out[1:] += np.float32(0.25) * moved[:-1]
    out[:-1] += np.float32(0.25) * moved[1:]
    out[0] += np.float32(0.25) * moved[0]
    out[-1] += np.float32(0.25) * moved[-1]
    return np.moveaxis(out, 0, axis)
