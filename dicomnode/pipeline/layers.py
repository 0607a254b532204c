"""Several models' label maps -> one, in which segments may overlap.  Asks no model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.ratios import Segmented
from dicomnode.model.findings import LabelMap, Segment
from dicomnode.model.volume import VolumeGeometry

MakeArray = Callable[[tuple[int, ...]], NDArray[np.uint8]]


def _in_memory(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.empty(shape, np.uint8)


def lay_over(
    found: Sequence[Segmented], geometry: VolumeGeometry, make_array: MakeArray = _in_memory
) -> tuple[LabelMap, tuple[Segment, ...]]:
    """Lay label maps one over the other; nothing is lost where segments overlap.

    Parameters
    ----------
    found : sequence of Segmented
        In order; segments of the later lie above.
    geometry : VolumeGeometry
        Of all the label maps.
    make_array : callable, optional
        Returns the array to lay them over in, given its shape; not asked where one is all there is.

    Returns
    -------
    tuple of LabelMap and tuple of Segment
        Segments are numbered on from model to model.

    Raises
    ------
    ModelContractMismatch
        If more than 255 values were needed for segments and overlaps.
    """
    segments: list[Segment] = []
    total = sum(len(each.segments) for each in found)
    labels = found[0].labels
    members: dict[int, tuple[int, ...]] = {}
    for index, each in enumerate(found):
        offset = len(segments)
        segments.extend(replace(s, number=s.number + offset) for s in each.segments)
        if index == 1:
            labels = make_array(labels.shape)
            labels[...] = found[0].labels
        if index:
            _lay_one(labels, each.labels, offset, members, total)
    used = {value: numbers for value, numbers in members.items() if len(numbers) > 1}
    return LabelMap(labels=labels, geometry=geometry, overlaps=used), tuple(segments)


def _lay_one(
    labels: NDArray[np.uint8],
    above: NDArray[np.uint8],
    offset: int,
    members: dict[int, tuple[int, ...]],
    total: int,
) -> None:
    """Lay another over `labels`; `members` learns the values that stand for several segments."""
    values = {numbers: value for value, numbers in members.items()}
    for plane, upper in zip(labels, above, strict=True):
        if not upper.any():
            continue
        alone = (upper > 0) & (plane == 0)
        both = (upper > 0) & (plane > 0)
        pairs = np.unique(plane[both].astype(np.uint16) << 8 | upper[both])
        table = {}
        for pair in pairs.tolist():
            under, number = pair >> 8, (pair & 255) + offset
            numbers = (*members.get(under, (under,)), number)
            if numbers not in values:
                value = total + 1 + len(values)
                if value > 255:
                    raise ModelContractMismatch(
                        "wanted at most 255 segments and overlaps of segments, found more"
                    )
                values[numbers] = value
                members[value] = numbers
            table[pair] = values[numbers]
        before = plane[both].astype(np.uint16) << 8 | upper[both]
        plane[alone] = upper[alone] + offset
        if table:
            ordered = np.array([table[pair] for pair in pairs.tolist()], np.uint8)
            plane[both] = ordered[np.searchsorted(pairs, before)]
