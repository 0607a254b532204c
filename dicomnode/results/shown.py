"""A SEG that this node wrote -> label map and segments again, to be shown.  Reads, builds nothing.

Only what `seg` writes is read: BINARY, frames that each name the source image of their slice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from highdicom.color import CIELabColor
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicomnode.errors import ResultError
from dicomnode.model.findings import LabelMap
from dicomnode.model.volume import SourceFrame, VolumeGeometry

_MOST_VALUES: Final = 255
_GRAY: Final = (200, 200, 200)

_ABNORMAL: Final = ("49755003", "SCT")
"""Morphologically Abnormal Structure (PS3.16 CID 7150)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSegment:
    """A segment as a viewer names and colors it.

    Attributes
    ----------
    number : int
        Segment Number in the SEG, and value in the label map that is shown.
    label : str
    color_rgb : tuple of int
        From Recommended Display CIELab Value (PS3.3 C.10.7.1.1), as sRGB, 0 to 255.
    is_abnormal : bool
        Whether its category is that of lesions and the like.
    """

    number: int
    label: str
    color_rgb: tuple[int, int, int]
    is_abnormal: bool


def read_segmentation(
    path: Path, *, sources: Sequence[SourceFrame], geometry: VolumeGeometry
) -> tuple[LabelMap, tuple[ShownSegment, ...]]:
    """Read a SEG back onto the grid of the volume that it was made from.

    Parameters
    ----------
    path : Path
    sources : sequence of SourceFrame
        One a slice of the volume, in slice order.
    geometry : VolumeGeometry
        Of the volume.

    Returns
    -------
    tuple of LabelMap and tuple of ShownSegment
        Labels are Segment Numbers; `LabelMap.overlaps` tells of those that share voxels.

    Raises
    ------
    ResultError
        If it is no BINARY SEG, or its frames do not lie on the slices of this volume.
    """
    seg = _open(path)
    rows, columns = geometry.shape_kji[1:]
    count = int(seg.NumberOfFrames)
    wanted_bytes = (count * rows * columns + 7) // 8
    if (seg.Rows, seg.Columns) != (rows, columns) or len(seg.PixelData) < wanted_bytes:
        raise ResultError(
            f"wanted a SEG of {rows} x {columns} pixels and {count} whole frames, "
            f"found {seg.Rows} x {seg.Columns}"
        )
    segments = tuple(_segment(item) for item in seg.SegmentSequence)
    places = {(each.sop_instance_uid, each.frame_number): k for k, each in enumerate(sources)}
    layers = _Layers(geometry, len(segments))
    size = rows * columns
    packed = np.frombuffer(seg.PixelData, np.uint8)
    for index, item in enumerate(seg.PerFrameFunctionalGroupsSequence):
        first = index * size
        bits = np.unpackbits(packed[first // 8 : (first + size + 7) // 8], bitorder="little")
        mask = bits[first % 8 : first % 8 + size].reshape(rows, columns).view(np.bool_)
        layers.add(_slice_of(item, places), _number_of(item), mask)
    return layers.label_map(), segments


def _open(path: Path) -> Dataset:
    try:
        seg = pydicom.dcmread(path)
        is_binary = seg.SegmentationType == "BINARY" and not (
            seg.file_meta.TransferSyntaxUID.is_encapsulated
        )
    # pydicom answers broken files with many kinds of exception; all mean the same here.
    except Exception as error:
        raise ResultError(f"the SEG cannot be read: {type(error).__name__}") from error
    if not is_binary:
        raise ResultError("wanted a BINARY SEG, found another kind")
    return seg


def _segment(item: Dataset) -> ShownSegment:
    category = item.SegmentedPropertyCategoryCodeSequence[0]
    value = item.get("RecommendedDisplayCIELabValue")
    return ShownSegment(
        number=int(item.SegmentNumber),
        label=str(item.SegmentLabel),
        color_rgb=_GRAY if value is None else _rgb(value),
        is_abnormal=(category.get("CodeValue"), category.CodingSchemeDesignator) == _ABNORMAL,
    )


def _rgb(value: Sequence[int]) -> tuple[int, int, int]:
    red, green, blue = CIELabColor.from_dicom_value(tuple(value)).to_rgb()
    return red, green, blue


def _slice_of(item: Dataset, places: Mapping[tuple[str, int | None], int]) -> int:
    source = item.DerivationImageSequence[0].SourceImageSequence[0]
    frame = source.get("ReferencedFrameNumber")
    key = (str(source.ReferencedSOPInstanceUID), None if frame is None else int(frame))
    if key not in places:
        raise ResultError("a frame of the SEG refers to an image that is not in the volume")
    return places[key]


def _number_of(item: Dataset) -> int:
    return int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber)


class _Layers:
    """Lays the frames of segments over each other; remembers what lies where several do."""

    def __init__(self, geometry: VolumeGeometry, segments: int) -> None:
        self._geometry = geometry
        self._labels = np.zeros(geometry.shape_kji, np.uint8)
        self._members: dict[int, tuple[int, ...]] = {}
        self._values: dict[tuple[int, ...], int] = {}
        self._last = segments

    def add(self, index: int, number: int, mask: NDArray[np.bool_]) -> None:
        """Add a segment's frame to a slice."""
        plane = self._labels[index]
        found = plane[mask]
        table = np.arange(256, dtype=np.uint8)
        for value in np.flatnonzero(np.bincount(found, minlength=1)).tolist():
            table[value] = self._over(value, number)
        plane[mask] = table[found]

    def _over(self, value: int, number: int) -> int:
        """Return the value that stands for a segment and what lies there already."""
        if value == 0:
            return number
        numbers = tuple(sorted({*self._members.get(value, (value,)), number}))
        if len(numbers) == 1:
            return value
        if numbers not in self._values:
            self._last += 1
            if self._last > _MOST_VALUES:
                raise ResultError("wanted at most 255 segments and overlaps, found more")
            self._values[numbers] = self._last
            self._members[self._last] = numbers
        return self._values[numbers]

    def label_map(self) -> LabelMap:
        """Return what was added."""
        return LabelMap(labels=self._labels, geometry=self._geometry, overlaps=self._members)
