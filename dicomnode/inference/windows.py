"""Windows that slide over a volume: where they lie, and how what they say is blended.

As MONAI's sliding window inference does it (monai.inferers.utils, Apache-2.0, described in its
documentation): the same starts, the same weights, symmetric padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

_SIGMA: Final = 0.125
"""Standard deviation of the Gaussian weight, in window lengths."""

_LEAST_WEIGHT: Final = 1e-3

Start = tuple[int, int, int]


def window_starts(
    size: tuple[int, int, int], window: tuple[int, int, int], overlap: float
) -> tuple[Start, ...]:
    """Return the first voxel of every window.

    Parameters
    ----------
    size : tuple of int
        Of the volume, Z, Y, X; no shorter than the window.
    window : tuple of int
        Z, Y, X.
    overlap : float
        Share of a window, 0 up to below 1.
    """
    axes = []
    for length, reach in zip(size, window, strict=True):
        step = reach if length == reach else max(1, int(reach * (1 - overlap)))
        count = ceil((length - reach) / step) + 1
        axes.append([min(index * step, length - reach) for index in range(count)])
    return tuple((k, j, i) for k, j, i in product(*axes))


def window_weights(window: tuple[int, int, int], blending: str) -> NDArray[np.float32]:
    """Return the weight of each voxel of a window, shape of the window, above 0."""
    if blending == "constant":
        return np.ones(window, np.float32)
    weights = np.ones(window, np.float32)
    for axis, length in enumerate(window):
        at = np.arange(length, dtype=np.float32) - (length - 1) / 2
        bell = np.exp(-(at**2) / (2 * (_SIGMA * length) ** 2)).astype(np.float32)
        weights *= bell.reshape([-1 if each == axis else 1 for each in range(3)])
    return np.maximum(weights, _LEAST_WEIGHT)


def pad_to_window(
    volume: NDArray[np.float32], window: tuple[int, int, int], value: float
) -> tuple[NDArray[np.float32], tuple[slice, slice, slice]]:
    """Pad a volume that is shorter than a window, half on each side.

    Returns
    -------
    tuple
        The volume, and the slices that cut the original out of it.
    """
    lacks = [max(0, reach - n) for n, reach in zip(volume.shape, window, strict=True)]
    before = [each // 2 for each in lacks]
    where = tuple(slice(b, b + n) for b, n in zip(before, volume.shape, strict=True))
    if any(lacks):
        after = [each - b for each, b in zip(lacks, before, strict=True)]
        volume = np.pad(volume, tuple(zip(before, after, strict=True)), constant_values=value)
    return volume, (where[0], where[1], where[2])


def batches(starts: tuple[Start, ...], count: int) -> Iterator[tuple[Start, ...]]:
    """Group windows for one call each."""
    for first in range(0, len(starts), count):
        yield starts[first : first + count]


@dataclass(slots=True)
class Blend:
    """The weighted mean of what windows say of a volume.  Not thread-safe.

    Attributes
    ----------
    total : numpy.ndarray, shape (channels, Z, Y, X), dtype float32
    weight : numpy.ndarray, shape (Z, Y, X), dtype float32
    """

    total: NDArray[np.float32]
    weight: NDArray[np.float32]
    weights: NDArray[np.float32]

    @classmethod
    def of(cls, channels: int, size: tuple[int, ...], weights: NDArray[np.float32]) -> Blend:
        """Start with nothing said."""
        return cls(np.zeros((channels, *size), np.float32), np.zeros(size, np.float32), weights)

    def add(self, start: Start, maps: NDArray[np.float32]) -> None:
        """Add what one window says, shape (channels, Z, Y, X)."""
        box = tuple(
            slice(first, first + reach)
            for first, reach in zip(start, self.weights.shape, strict=True)
        )
        self.total[(slice(None), *box)] += maps * self.weights
        self.weight[box] += self.weights

    def mean(self) -> NDArray[np.float32]:
        """Return the mean; every voxel must have been in a window."""
        self.total /= self.weight
        return self.total
