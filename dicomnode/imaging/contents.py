"""What the files of a series hold: slices, what is left out, what cannot be read, and its traits.

Reads headers, each once, and no pixels.  Which series is wanted is decided elsewhere, whether the
slices make a volume in `geometry`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dicomnode.errors import PixelsUnreadable, UnsupportedImage
from dicomnode.imaging.attributes import Attributes
from dicomnode.imaging.elements import FileHeader
from dicomnode.imaging.header import read_header
from dicomnode.imaging.multiframe import frame_items
from dicomnode.imaging.placement import SAME_POSITION_MM
from dicomnode.imaging.slices import (
    Slice,
    image_type_of,
    is_localizer,
    parse_slices,
    whole_attributes,
)
from dicomnode.model.selection import Plane, SeriesTraits
from dicomnode.standard.sop_classes import CT_IMAGE, CT_SOP_CLASSES
from dicomnode.standard.uids import is_valid_uid

_MOST_VALUES: Final = 50
_PLANES: Final[tuple[Plane, ...]] = ("sagittal", "coronal", "axial")
"""By the axis of LPS that the normal is nearest to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Faulty:
    """An instance that cannot be used although it belongs to the series.

    Attributes
    ----------
    path : pathlib.Path
    fault : str
        Why, in words without patient data.
    """

    path: Path
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeriesContents:
    """The files of a series, sorted by what they are.

    Attributes
    ----------
    slices : tuple of Slice
        Some of them may have a `pixels_fault`.
    unplaced : tuple of Faulty
        Files whose headers cannot be read: nobody knows where they belong.
    unsupported : UnsupportedImage or None
        The first image of a kind that makes no volume; no localizer.
    notes : tuple of str
        What was left out.
    traits : SeriesTraits
    """

    slices: tuple[Slice, ...]
    unplaced: tuple[Faulty, ...]
    unsupported: UnsupportedImage | None
    notes: tuple[str, ...]
    traits: SeriesTraits

    @property
    def faulty(self) -> tuple[Faulty, ...]:
        """Every file that cannot be used: without a header, or without its pixels."""
        found = {each.path: each for each in self.unplaced}
        for each in self.slices:
            if each.pixels_fault is not None:
                found.setdefault(each.path, Faulty(path=each.path, fault=each.pixels_fault))
        return tuple(found.values())


def open_series(paths: Sequence[Path], keywords: tuple[str, ...] = ()) -> SeriesContents:
    """Read the headers of a series.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        All instances, in any order.
    keywords : tuple of str
        Attributes whose values are wanted as traits.
    """
    slices: list[Slice] = []
    unplaced: list[Faulty] = []
    unsupported: UnsupportedImage | None = None
    values: dict[str, dict[tuple[str, ...], None]] = {each: {} for each in keywords}
    localizer_values: dict[str, dict[tuple[str, ...], None]] = {each: {} for each in keywords}
    localizers = others = 0
    for path in paths:
        try:
            header = read_header(path, keywords)
            whole = whole_attributes(header)
            sop_class_uid = whole.text("SOPClassUID")
            if is_valid_uid(sop_class_uid) and sop_class_uid not in CT_SOP_CLASSES:
                others += 1
                continue
            if is_localizer(image_type_of(whole)):
                localizers += 1
                _collect(localizer_values, whole)
                continue
            _collect(values, _first_frame(header, whole))
            slices += parse_slices(path, header)
        except UnsupportedImage as error:
            unsupported = unsupported or error
        except PixelsUnreadable as error:
            unplaced.append(Faulty(path=path, fault=str(error)))
    positions, plane, spacing_mm = _placement(slices)
    return SeriesContents(
        slices=tuple(slices),
        unplaced=tuple(unplaced),
        unsupported=unsupported,
        notes=_notes(localizers, others),
        traits=SeriesTraits(
            values={
                keyword: tuple(found or localizer_values[keyword])
                for keyword, found in values.items()
            },
            image_count=len(slices),
            position_count=positions,
            localizer_count=localizers,
            other_count=others,
            unreadable_count=len(unplaced),
            plane=plane,
            spacing_mm=spacing_mm,
        ),
    )


def _first_frame(header: FileHeader, whole: Attributes) -> Attributes:
    """Return what describes the first frame of a multi-frame instance, else the image itself."""
    if whole.text("SOPClassUID") == CT_IMAGE or not whole.values(
        "PerFrameFunctionalGroupsSequence"
    ):
        return whole
    return Attributes(items=(*frame_items(whole)[0], header.attributes), label=whole.label)


def _collect(values: dict[str, dict[tuple[str, ...], None]], attributes: Attributes) -> None:
    for keyword, found in values.items():
        if len(found) < _MOST_VALUES and (texts := attributes.texts(keyword)):
            found[texts] = None


def _placement(slices: Sequence[Slice]) -> tuple[int, Plane | None, float | None]:
    """Count distinct positions; name the plane and the usual distance of slices."""
    if not slices:
        return 0, None, None
    cosines = np.array([each.orientation_lps for each in slices])
    normals = np.cross(cosines[:, :3], cosines[:, 3:])
    nearest = set(np.abs(normals).argmax(axis=1).tolist())
    depths = np.sort(np.array([each.position_lps for each in slices]) @ normals[0])
    gaps = np.diff(depths)
    apart = gaps[gaps >= SAME_POSITION_MM]
    return (
        len(apart) + 1,
        _PLANES[nearest.pop()] if len(nearest) == 1 else None,
        float(np.median(apart)) if len(apart) else None,
    )


def _notes(localizers: int, others: int) -> tuple[str, ...]:
    counted = (
        (localizers, f"{localizers} localizers of the series were left out."),
        (others, f"{others} objects of the series that are no CT images were left out."),
    )
    return tuple(text for count, text in counted if count)
