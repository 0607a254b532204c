"""Derived measurements: one segment's volume in percent of another structure's.  Asks no model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicomnode.inference.schema.answers import Ratio
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.schema.vocabulary import StructureTable
from dicomnode.model.findings import Measurement, Segment
from dicomnode.standard.codes import unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Segmented:
    """What one model found.

    Attributes
    ----------
    manifest : Manifest
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        On the source grid, numbers of the manifest.
    segments : tuple of Segment
        Of the manifest, measured.
    """

    manifest: Manifest
    labels: NDArray[np.uint8]
    segments: tuple[Segment, ...]


def is_structure(segment: Segment, structure: StructureTable) -> bool:
    """Whether a segment is what a manifest asks for."""
    side = structure.laterality
    return segment.property_type == structure.type.code and (
        side is None or (segment.laterality is not None and segment.laterality == side.code)
    )


def structure_mask(
    found: Sequence[Segmented], structures: Sequence[StructureTable]
) -> NDArray[np.bool_] | None:
    """Return where any of the structures lies.

    Returns
    -------
    numpy.ndarray, shape (slices, rows, columns), dtype bool, or None
        On the source grid; None where no model looked for any of them.
    """
    mask: NDArray[np.bool_] | None = None
    for each in found:
        values = np.zeros(256, np.bool_)
        values[
            [s.number for s in each.segments if any(is_structure(s, one) for one in structures)]
        ] = True
        if values.any():
            here = values[each.labels]
            mask = here if mask is None else mask | here
    return mask


def add_ratios(found: Sequence[Segmented]) -> tuple[Segmented, ...]:
    """Measure what the manifests want to know of segments of several models.

    Parameters
    ----------
    found : sequence of Segmented
        In the order that the models were asked.

    Returns
    -------
    tuple of Segmented
        With further measurements.  A ratio to an empty structure is none, and left out.
    """
    made = list(found)
    for later, each in enumerate(found):
        for ratio in each.manifest.ratios:
            for place, number, value in _measure(ratio, each, found[:later], later):
                made[place] = _with(made[place], number, ratio, value)
    return tuple(made)


def _measure(
    ratio: Ratio, own: Segmented, earlier: Sequence[Segmented], place: int
) -> list[tuple[int, int, float]]:
    """Return index of the model, segment number and percent, wherever the ratio is reported."""
    structures = [
        (index, segment)
        for index, each in enumerate(earlier)
        for segment in each.segments
        if is_structure(segment, ratio.to)
    ]
    if ratio.kind == "volumes":
        whole_ml = sum(segment.volume_ml for _, segment in structures)
        part_ml = next(s.volume_ml for s in own.segments if s.number == ratio.segment)
        return [(place, ratio.segment, 100.0 * part_ml / whole_ml)] if whole_ml else []
    found = []
    for index, segment in structures:
        labels = earlier[index].labels
        whole = part = 0
        for own_slice, slice_labels in zip(own.labels, labels, strict=True):
            inside = slice_labels == segment.number
            whole += int(np.count_nonzero(inside))
            part += int(np.count_nonzero(own_slice[inside] == ratio.segment))
        if whole:
            found.append((index, segment.number, 100.0 * part / whole))
    return found


def _with(found: Segmented, number: int, ratio: Ratio, percent: float) -> Segmented:
    measurement = Measurement(name=ratio.name.code, value=percent, unit=unit("%"))
    return replace(
        found,
        segments=tuple(
            replace(each, measurements=(*each.measurements, measurement))
            if each.number == number
            else each
            for each in found.segments
        ),
    )
