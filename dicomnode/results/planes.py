"""Where each slice of a label map lies according to its source image, and that both agree.

Reads Image Plane attributes of single-frame images and functional groups of multi-frame ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicomnode.errors import ResultError
from dicomnode.model.volume import SourceFrame, VolumeGeometry
from dicomnode.results.source import value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePlane:
    """One source image, or frame of one, with its place in the patient.

    Attributes
    ----------
    source : SourceFrame
    header : Dataset
        Of the instance it belongs to.
    position_lps : tuple of float
        Image Position (Patient), millimeters (PS3.3 C.7.6.2.1.1).
    orientation : tuple of float
        Image Orientation (Patient): row cosines, then column cosines.
    pixel_spacing_mm : tuple of float
        Between rows, between columns (PS3.3 10.7.1.3).
    slice_thickness_mm : float or None
        None where the source has none.
    """

    source: SourceFrame
    header: Dataset
    position_lps: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, ...]
    slice_thickness_mm: float | None


def locate_planes(
    volume_sources: Sequence[SourceFrame],
    evidence: Sequence[Dataset],
    geometry: VolumeGeometry,
) -> tuple[SourcePlane, ...]:
    """Find the source of every slice, in slice order, and hold its place against the geometry.

    Parameters
    ----------
    volume_sources : sequence of SourceFrame
        One a slice, in slice order.
    evidence : sequence of Dataset
        Headers of the source instances, in any order.
    geometry : VolumeGeometry
        Of the label map.

    Returns
    -------
    tuple of SourcePlane

    Raises
    ------
    ResultError
        If a slice has no source among the evidence, the source has no position, matrix or
        orientation, or it lies elsewhere than the slice: a label map must never be shown on
        another slice than that it was made from.
    """
    slices, rows, columns = geometry.shape_kji
    if len(volume_sources) != slices:
        raise ResultError(f"wanted one source a slice, {slices}, found {len(volume_sources)}")
    headers = {str(value_of(each, "SOPInstanceUID")): each for each in evidence}
    planes = []
    for index, source in enumerate(volume_sources):
        header = headers.get(source.sop_instance_uid)
        if header is None:
            raise ResultError(f"the source instance of slice {index} is not among the evidence")
        found = (value_of(header, "Rows"), value_of(header, "Columns"))
        if found != (rows, columns):
            raise ResultError(
                f"wanted a matrix of {rows} x {columns} in the source of slice {index}, "
                f"found {found[0]} x {found[1]}"
            )
        planes.append(_plane(source, header, index))
    _check_agreement(planes, geometry)
    return tuple(planes)


def distance_between_slices_mm(geometry: VolumeGeometry) -> float:
    """Return the distance between neighboring slices along their normal, mm.

    On a sheared grid (tilted gantry) it is less than the distance between voxel centers; Spacing
    Between Slices means this one (PS3.3 C.7.6.16.2.1).
    """
    row, column, step = geometry.affine_ijk_to_lps[:3, :3].T
    normal = np.cross(row, column)
    return float(abs(np.dot(step, normal)) / np.linalg.norm(normal))


def _plane(source: SourceFrame, header: Dataset, index: int) -> SourcePlane:
    if source.frame_number is None:
        position, orientation, measures = header, header, header
    else:
        number = source.frame_number
        frames = header.get("PerFrameFunctionalGroupsSequence") or []
        if not 1 <= number <= len(frames):
            raise ResultError(
                f"the source of slice {index} is frame {number}, the instance has {len(frames)}"
            )
        shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        groups = (frames[number - 1], shared)
        position = _group(groups, "PlanePositionSequence")
        orientation = _group(groups, "PlaneOrientationSequence")
        measures = _group(groups, "PixelMeasuresSequence")
    thickness = _numbers(measures, "SliceThickness", 1)
    return SourcePlane(
        source=source,
        header=header,
        position_lps=_wanted(position, "ImagePositionPatient", 3, index),
        orientation=_wanted(orientation, "ImageOrientationPatient", 6, index),
        pixel_spacing_mm=_wanted(measures, "PixelSpacing", 2, index),
        slice_thickness_mm=thickness[0] if thickness and thickness[0] > 0 else None,
    )


def _group(groups: Sequence[Dataset], keyword: str) -> Dataset:
    """Return the item of a functional group, the frame's own before the shared one."""
    for group in groups:
        items = group.get(keyword)
        if items:
            item: Dataset = items[0]
            return item
    return Dataset()


def _wanted(item: Dataset, keyword: str, count: int, index: int) -> tuple[float, ...]:
    values = _numbers(item, keyword, count)
    if values is None:
        raise ResultError(f"wanted {keyword} in the source of slice {index}, found none")
    return values


def _numbers(item: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    value = value_of(item, keyword)
    if value is None or value == "":
        return None
    try:
        values = tuple(np.atleast_1d(np.asarray(value, dtype=np.float64)).tolist())
    except (TypeError, ValueError):
        return None
    return values if len(values) == count and np.isfinite(values).all() else None


def _check_agreement(planes: Sequence[SourcePlane], geometry: VolumeGeometry) -> None:
    affine = geometry.affine_ijk_to_lps
    for index, plane in enumerate(planes):
        place = index if geometry.slice_places is None else geometry.slice_places[index]
        wanted = geometry.to_lps(np.array([0.0, 0.0, place]))
        # Half a slice: slices may be a little uneven, but never be mistaken for their neighbors.
        allowed = distance_between_slices_mm(geometry) / 2
        off = float(np.linalg.norm(wanted - np.asarray(plane.position_lps)))
        if off > allowed:
            raise ResultError(
                f"slice {index} of the label map lies {off:.2f} mm from its source image, "
                f"allowed are {allowed:.2f} mm"
            )
        between_rows, between_columns = plane.pixel_spacing_mm
        row_step = np.asarray(plane.orientation[:3]) * between_columns
        column_step = np.asarray(plane.orientation[3:]) * between_rows
        _check_axis(affine[:3, 0], row_step, geometry.shape_kji[2], "rows", index)
        _check_axis(affine[:3, 1], column_step, geometry.shape_kji[1], "columns", index)


def _check_axis(
    found: NDArray[np.float64],
    wanted: NDArray[np.float64],
    count: int,
    name: str,
    index: int,
) -> None:
    """Refuse where the far end of an axis is more than half a pixel off."""
    if float(np.linalg.norm(found - wanted)) * count > 0.5 * float(np.linalg.norm(wanted)):
        raise ResultError(f"the {name} of slice {index} run otherwise than in its source image")


def frames_by_instance(sources: Sequence[SourceFrame]) -> Mapping[str, list[SourceFrame]]:
    """Group slices by the instance they came from, in order of first appearance."""
    grouped: dict[str, list[SourceFrame]] = {}
    for source in sources:
        grouped.setdefault(source.sop_instance_uid, []).append(source)
    return grouped
