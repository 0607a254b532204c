"""From a volume's own grid to the one a model sees, and label maps back onto the source's slices.

A regular, orthogonal volume is only turned, nothing is interpolated.  The slices of a tilted gantry
and uneven slices are resampled first, so that a model sees right angles and even distances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dicomnode.imaging.orient import to_orientation
from dicomnode.imaging.pixels import PADDED_HU
from dicomnode.model.volume import Volume, VolumeGeometry

RIGHT_ANGLE_COSINE: Final = 2e-3
"""A slice axis nearer to the normal than 0.1 degrees is not resampled."""

_WHOLE: Final = 1e-6
"""Parts of a pixel or slice below this are rounding."""


class ModelGrid(Protocol):
    """What a model sees of a volume; label maps go there and back."""

    @property
    def voxels_hu(self) -> NDArray[np.int16]:
        """Hounsfield units on the model's grid."""

    @property
    def geometry(self) -> VolumeGeometry:
        """Where the voxels lie."""

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Distance between neighbors along each axis of `voxels_hu`, mm."""

    def apply(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring a label map from the source's grid to this one."""

    def restore(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring a label map from this grid to the source's."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resampled:
    """A volume on a regular, orthogonal grid that is not the source's, then turned.

    Attributes
    ----------
    source : VolumeGeometry
    straight : VolumeGeometry
        Regular and orthogonal, not turned.
    turned : ModelGrid
        The straight volume in the orientation wanted.
    """

    source: VolumeGeometry
    straight: VolumeGeometry
    turned: ModelGrid

    @property
    def voxels_hu(self) -> NDArray[np.int16]:
        """Hounsfield units on the model's grid; what no slice covers is air."""
        return self.turned.voxels_hu

    @property
    def geometry(self) -> VolumeGeometry:
        """Where the voxels lie."""
        return self.turned.geometry

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Distance between neighbors along each axis of `voxels_hu`, mm."""
        return self.turned.spacing_kji_mm

    def apply(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring a label map from the source's grid to this one, by the nearest voxel."""
        even = labels if self.source.slice_places is None else labels[_nearest(self.source)]
        found = np.zeros(self.straight.shape_kji, np.uint8)
        for index, (rows, columns) in enumerate(self._shifts()):
            found[index, rows, columns] = even[index]
        return self.turned.apply(found)

    def restore(self, labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Bring a label map from this grid to the source's, by the nearest voxel."""
        straight = self.turned.restore(labels)
        even = np.empty(_even(self.source).shape_kji, np.uint8)
        for index, (rows, columns) in enumerate(self._shifts()):
            even[index] = straight[index, rows, columns]
        places = self.source.slice_places
        if places is None:
            return even
        found: NDArray[np.uint8] = even[np.rint(places).astype(int).clip(0, len(even) - 1)]
        return found

    def _shifts(self) -> Iterator[tuple[slice, slice]]:
        """Yield where rows and columns of each slice lie on the straight grid, to whole pixels."""
        _slices, rows, columns = self.source.shape_kji
        for down, right in _offsets(self.source, self.straight):
            row, column = round(down), round(right)
            yield slice(row, row + rows), slice(column, column + columns)


class ModelGrids:
    """The regular, orthogonal grids of one volume; each is made when first asked for, and once.

    Parameters
    ----------
    volume : Volume
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self._straight: Volume | None = None
        self._made: dict[str, ModelGrid] = {}

    def to(self, orientation: str) -> ModelGrid:
        """Return the grid in the orientation that a model wants.

        Parameters
        ----------
        orientation : str
            As `to_orientation`.

        Returns
        -------
        ModelGrid
            Shares the volume's memory if nothing has to be done.  In-plane spacing and the distance
            between slices along their normal are the source's own.

        Raises
        ------
        ValueError
            If `orientation` is none.
        """
        if orientation not in self._made:
            self._made[orientation] = self._make(orientation)
        return self._made[orientation]

    def _make(self, orientation: str) -> ModelGrid:
        if not needs_resampling(self.volume.geometry):
            return to_orientation(self.volume, orientation)
        if self._straight is None:
            self._straight = straighten(self.volume)
        return Resampled(
            source=self.volume.geometry,
            straight=self._straight.geometry,
            turned=to_orientation(self._straight, orientation),
        )


def to_model_grid(volume: Volume, orientation: str) -> ModelGrid:
    """Return one grid of a volume, as `ModelGrids.to`."""
    return ModelGrids(volume).to(orientation)


def needs_resampling(geometry: VolumeGeometry) -> bool:
    """Whether slices are uneven, or the slice axis is not at a right angle to the image plane."""
    axes = geometry.affine_ijk_to_lps[:3, :3] / np.linalg.norm(
        geometry.affine_ijk_to_lps[:3, :3], axis=0
    )
    slant = max(abs(float(axes[:, 2] @ axes[:, 0])), abs(float(axes[:, 2] @ axes[:, 1])))
    return geometry.slice_places is not None or slant > RIGHT_ANGLE_COSINE


def straighten(volume: Volume) -> Volume:
    """Resample a volume to even slices along their normal, linearly; wide enough for all of it.

    Returns
    -------
    Volume
        What no slice covers is air.  Its sources are those of the nearest slices.
    """
    even = _even(volume.geometry)
    straight = _orthogonal(even)
    voxels_hu = np.empty(straight.shape_kji, np.int16)
    for index, (down, right) in enumerate(_offsets(even, straight)):
        _moved(_plane_at(volume, index), down, right, voxels_hu[index])
    return Volume(
        voxels_hu=voxels_hu,
        geometry=straight,
        sources=tuple(volume.sources[each] for each in _nearest(volume.geometry)),
        frame_of_reference_uid=volume.frame_of_reference_uid,
        notes=volume.notes,
    )


def _even(geometry: VolumeGeometry) -> VolumeGeometry:
    """Return the regular grid that a geometry's affine describes, from first to last slice."""
    if geometry.slice_places is None:
        return geometry
    slices = round(float(geometry.slice_places[-1])) + 1
    return replace(geometry, shape_kji=(slices, *geometry.shape_kji[1:]), slice_places=None)


def _orthogonal(geometry: VolumeGeometry) -> VolumeGeometry:
    """Return the grid with slices along their normal that holds all of a sheared one."""
    affine = geometry.affine_ijk_to_lps.copy()
    row, column, step = affine[:3, :3].T
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    slices, rows, columns = geometry.shape_kji
    # How many columns and rows the last slice is shifted against the first.
    shift = [float(step @ axis / (axis @ axis)) * (slices - 1) for axis in (row, column)]
    before = [max(0, int(np.ceil(-each - _WHOLE))) for each in shift]
    after = [max(0, int(np.ceil(each - _WHOLE))) for each in shift]
    affine[:3, 2] = normal * float(step @ normal)
    affine[:3, 3] -= before[0] * row + before[1] * column
    return VolumeGeometry(
        shape_kji=(slices, rows + before[1] + after[1], columns + before[0] + after[0]),
        affine_ijk_to_lps=affine,
    )


def _offsets(source: VolumeGeometry, straight: VolumeGeometry) -> Iterator[tuple[float, float]]:
    """Yield by how many rows and columns each slice lies further on in the straight grid."""
    row, column, step = source.affine_ijk_to_lps[:3, :3].T
    first = source.affine_ijk_to_lps[:3, 3] - straight.affine_ijk_to_lps[:3, 3]
    for index in range(straight.shape_kji[0]):
        offset = first + index * step
        yield float(offset @ column / (column @ column)), float(offset @ row / (row @ row))


def _nearest(geometry: VolumeGeometry) -> NDArray[np.intp]:
    """Return which slice lies nearest to each even place."""
    even = np.arange(_even(geometry).shape_kji[0])
    places = even if geometry.slice_places is None else geometry.slice_places
    found: NDArray[np.intp] = np.abs(places[None, :] - even[:, None]).argmin(axis=1)
    return found


def _plane_at(volume: Volume, index: int) -> NDArray[np.float32]:
    """Return the image at an even place, between its neighbors where slices are uneven."""
    places = volume.geometry.slice_places
    if places is None:
        plane: NDArray[np.float32] = volume.voxels_hu[index].astype(np.float32)
        return plane
    place = float(np.clip(index, places[0], places[-1]))
    after = int(np.searchsorted(places, place).clip(1, len(places) - 1))
    weight = np.float32((place - places[after - 1]) / (places[after] - places[after - 1]))
    mixed: NDArray[np.float32] = (
        volume.voxels_hu[after - 1] * (1 - weight) + volume.voxels_hu[after] * weight
    )
    return mixed


def _moved(
    plane: NDArray[np.float32],
    down: float,
    right: float,
    out: NDArray[np.int16],
) -> None:
    """Write a plane, moved by parts of pixels, into a larger one; around it is air."""
    rows, columns = plane.shape
    row, column = round(down), round(right)
    moved = _between(_between(plane, row - down, 0), column - right, 1)
    out[:] = PADDED_HU
    out[row : row + rows, column : column + columns] = np.rint(moved)


def _between(plane: NDArray[np.float32], part: float, axis: int) -> NDArray[np.float32]:
    """Read a part of a pixel further on, or before, linearly; beyond an end its value goes on."""
    if abs(part) <= _WHOLE:
        return plane
    weight = np.float32(abs(part))
    mixed: NDArray[np.float32] = plane * (1 - weight)
    here, there = np.moveaxis(mixed, axis, 0), np.moveaxis(plane, axis, 0)
    if part < 0:
        here, there = here[::-1], there[::-1]
    here[:-1] += there[1:] * weight
    here[-1] += there[-1] * weight
    return mixed
