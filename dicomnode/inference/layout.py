"""The order of a tensor's axes, as a manifest writes it: from and to (batch, channel, Z, Y, X).

X, Y and Z are what the first, second and third letter of the orientation name; our arrays, indexed
(slice, row, column) in that orientation, are Z, Y, X.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_OURS: Final = "NCZYX"


def axes_of(layout: str) -> str:
    """Return the layout in the letters N, C, X, Y, Z."""
    return layout.translate(str.maketrans("DHW", "ZYX"))


def tensor_shape(
    layout: str, *, batch: int, channels: int, size_zyx: tuple[int, int, int]
) -> tuple[int, ...]:
    """Return the shape of a tensor.

    Parameters
    ----------
    layout : str
        "NCDHW", say.
    batch, channels : int
        Left out where the layout has no such axis.
    size_zyx : tuple of int

    Returns
    -------
    tuple of int
        In the layout's order.
    """
    lengths = dict(zip(_OURS, (batch, channels, *size_zyx), strict=True))
    return tuple(lengths[axis] for axis in axes_of(layout))


def to_layout(array: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return an array of shape (batch, channels, Z, Y, X) in a layout, contiguous.

    Raises
    ------
    ValueError
        If an axis that the layout lacks is longer than 1.
    """
    axes = axes_of(layout)
    dropped = tuple(index for index, axis in enumerate(_OURS) if axis not in axes)
    kept = [axis for axis in _OURS if axis in axes]
    squeezed = array.squeeze(axis=dropped)
    return np.ascontiguousarray(squeezed.transpose([kept.index(axis) for axis in axes]))


def from_layout(tensor: NDArray[Any], layout: str) -> NDArray[Any]:
    """Return a tensor as (batch, channels, Z, Y, X); axes it lacks have length 1."""
    axes = axes_of(layout)
    kept = [axis for axis in _OURS if axis in axes]
    ordered = tensor.transpose([axes.index(axis) for axis in kept])
    missing = tuple(index for index, axis in enumerate(_OURS) if axis not in axes)
    return np.expand_dims(ordered, missing)
