"""A CT volume and its geometry.  Where slice order and patient space are defined, once.

Patient space is LPS millimeters (PS3.3 C.7.6.2.1.1: +x to the patient's left, +y to the back,
+z to the head).  Arrays are indexed (slice, row, column), written `_kji`; points and affines use
(column, row, slice), written `_ijk`, as ITK does.  Slices run along row x column cosines.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VolumeGeometry:
    """Where the voxels of a regular grid lie in the patient.

    Attributes
    ----------
    shape_kji : tuple of int
        Number of slices, rows and columns.
    affine_ijk_to_lps : numpy.ndarray, shape (4, 4), dtype float64
        Maps (column, row, slice, 1), zero-based, voxel center, to LPS millimeters.  Read-only.
        The three axes need not be orthogonal: a tilted gantry shears the slice axis.
    slice_places : numpy.ndarray, shape (slices,), dtype float64, or None
        Where each slice lies on the slice axis of the affine, in steps of it, ascending; None where
        each lies at its own index.  Read-only.
    """

    shape_kji: tuple[int, int, int]
    affine_ijk_to_lps: NDArray[np.float64]
    slice_places: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        affine = np.array(self.affine_ijk_to_lps, dtype=np.float64)
        if affine.shape != (4, 4):
            raise ValueError(f"wanted a 4 x 4 affine, found shape {affine.shape}")
        if not np.isfinite(affine).all():
            raise ValueError("an affine holds finite numbers only")
        if not np.allclose(affine[3], (0, 0, 0, 1)):
            raise ValueError(f"the last row of an affine is 0 0 0 1, found {affine[3]}")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise ValueError("the axes of a volume are not linearly independent")
        if min(self.shape_kji) < 1:
            raise ValueError(f"a volume has at least one voxel an axis, found {self.shape_kji}")
        affine.flags.writeable = False
        object.__setattr__(self, "affine_ijk_to_lps", affine)
        if self.slice_places is not None:
            places = np.array(self.slice_places, dtype=np.float64)
            if places.shape != self.shape_kji[:1] or not (np.diff(places) > 0).all():
                raise ValueError(
                    f"wanted {self.shape_kji[0]} ascending places of slices, "
                    f"found shape {places.shape}"
                )
            places.flags.writeable = False
            object.__setattr__(self, "slice_places", places)

    @property
    def spacing_ijk_mm(self) -> tuple[float, float, float]:
        """Distance between neighbors along columns' index, rows' index and slices' index, mm."""
        i, j, k = np.linalg.norm(self.affine_ijk_to_lps[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in milliliters; right also for sheared grids."""
        return float(abs(np.linalg.det(self.affine_ijk_to_lps[:3, :3]))) / 1000.0

    def to_lps(self, index_ijk: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map indices, shape (..., 3), (column, row, slice), to LPS millimeters."""
        matrix = self.affine_ijk_to_lps
        moved: NDArray[np.float64] = np.asarray(index_ijk) @ matrix[:3, :3].T + matrix[:3, 3]
        return moved


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFrame:
    """The image one slice of a volume came from.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid : str
    frame_number : int or None
        One-based frame of a multi-frame instance; None for a single-frame instance.
    """

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """The voxels of one CT series on a regular grid.

    Attributes
    ----------
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Radiodensity in Hounsfield units.  Read-only.
    geometry : VolumeGeometry
    sources : tuple of SourceFrame
        One per slice, in slice order.
    frame_of_reference_uid : str or None
        None where the source has none.
    notes : tuple of str
        Facts that a reader of the result should know, in words (lossy compression, say).
    """

    voxels_hu: NDArray[np.int16]
    geometry: VolumeGeometry
    sources: tuple[SourceFrame, ...]
    frame_of_reference_uid: str | None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels_hu.dtype != np.int16:
            raise ValueError(f"wanted int16 Hounsfield units, found {self.voxels_hu.dtype}")
        if self.voxels_hu.shape != self.geometry.shape_kji:
            raise ValueError(
                f"wanted voxels of shape {self.geometry.shape_kji}, found {self.voxels_hu.shape}"
            )
        if len(self.sources) != self.geometry.shape_kji[0]:
            raise ValueError(
                f"wanted one source a slice, {self.geometry.shape_kji[0]}, "
                f"found {len(self.sources)}"
            )
        self.voxels_hu.flags.writeable = False
