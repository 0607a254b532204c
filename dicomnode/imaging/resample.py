"""From a volume to the grid of a network, and maps of probabilities back.  Index space only.

Works on arrays indexed (Z, Y, X) whose axes stay parallel: turning is done before, in `orient`.
Tilted and uneven series are made straight elsewhere, before this.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import SimpleITK
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
Triple = tuple[float, float, float]

_INTERPOLATORS: Final = {
    "linear": SimpleITK.sitkLinear,
    "nearest": SimpleITK.sitkNearestNeighbor,
    "cubic": SimpleITK.sitkBSpline,
}

# Probabilities are brought back this many source slices at a time: memory stays below that of the
# volume however many classes there are.
_SLAB: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where the voxels of one grid lie on another of parallel axes.

    Voxel `i` of this grid lies at ``offset + i * step`` of the other, along each axis.

    Attributes
    ----------
    shape : tuple of int
        Of this grid, Z, Y, X.
    step, offset : tuple of float
        In voxels of the other grid, Z, Y, X.
    """

    shape: tuple[int, int, int]
    step: Triple
    offset: Triple


def place_spacing(
    shape: Sequence[int], spacing_mm: Sequence[float], wanted_mm: Sequence[float]
) -> Placement:
    """Lay a grid of another spacing over a volume.

    The first voxels coincide, and there are as many as fit the distance between first and last
    center, rounded: ``round((n - 1) * spacing / wanted) + 1``.

    Parameters
    ----------
    shape, spacing_mm, wanted_mm : sequence
        Z, Y, X.
    """
    lengths = [
        round((n - 1) * have / want) + 1
        for n, have, want in zip(shape, spacing_mm, wanted_mm, strict=True)
    ]
    step = [want / have for have, want in zip(spacing_mm, wanted_mm, strict=True)]
    return Placement(
        shape=(lengths[0], lengths[1], lengths[2]),
        step=(step[0], step[1], step[2]),
        offset=(0.0, 0.0, 0.0),
    )


def place_size(shape: Sequence[int], size: Sequence[int], method: str) -> Placement:
    """Lay a grid of a fixed size over a volume.

    Parameters
    ----------
    shape, size : sequence of int
        Of the volume and the grid, Z, Y, X.
    method : str
        ``area``: the edges of both coincide, ``linear``: the centers of first and last voxels do.
    """
    pairs = list(zip(shape, size, strict=True))
    if method == "area":
        step = [n / m for n, m in pairs]
        offset = [each / 2 - 0.5 for each in step]
    else:
        step = [(n - 1) / (m - 1) if m > 1 and n > 1 else float(n) for n, m in pairs]
        offset = [0.0 if m > 1 else (n - 1) / 2 for n, m in pairs]
    return Placement(
        shape=(size[0], size[1], size[2]),
        step=(step[0], step[1], step[2]),
        offset=(offset[0], offset[1], offset[2]),
    )


def resample(
    volume: NDArray[Any], placement: Placement, *, interpolation: str = "linear"
) -> NDArray[np.float32]:
    """Read a volume at the voxels of another grid.

    Parameters
    ----------
    volume : numpy.ndarray, shape (Z, Y, X)
    placement : Placement
        Of the new grid on the volume's.
    interpolation : str
        ``linear``, ``nearest`` or ``cubic`` (B-spline of third order).

    Returns
    -------
    numpy.ndarray, shape of the placement, dtype float32
        Beyond the outermost centers the nearest voxel's value goes on.
    """
    if (
        placement.shape == volume.shape
        and placement.step == (1, 1, 1)
        and not any(placement.offset)
    ):
        return volume.astype(np.float32)
    return _sample(_image(volume), placement, interpolation)


def _image(volume: NDArray[Any]) -> SimpleITK.Image:
    # B-splines need floating point, and a volume of int16 would be rounded at the end.
    return SimpleITK.GetImageFromArray(volume.astype(np.float32, copy=False))


def _sample(
    image: SimpleITK.Image, placement: Placement, interpolation: str
) -> NDArray[np.float32]:
    sampler = SimpleITK.ResampleImageFilter()
    sampler.SetInterpolator(_INTERPOLATORS[interpolation])
    sampler.SetSize([int(n) for n in placement.shape[::-1]])
    sampler.SetOutputSpacing([float(each) for each in placement.step[::-1]])
    sampler.SetOutputOrigin([float(each) for each in placement.offset[::-1]])
    sampler.SetOutputPixelType(SimpleITK.sitkFloat32)
    sampler.UseNearestNeighborExtrapolatorOn()
    found: NDArray[np.float32] = SimpleITK.GetArrayFromImage(sampler.Execute(image))
    return found


def resize(volume: NDArray[np.float32], size: Sequence[int], method: str) -> NDArray[np.float32]:
    """Resize to a fixed shape.

    Parameters
    ----------
    volume : numpy.ndarray, shape (Z, Y, X), dtype float32
    size : sequence of int
        Z, Y, X.
    method : str
        ``area``: the mean over ``floor(i * n / m) .. ceil((i + 1) * n / m)``, as PyTorch's
        ``interpolate(mode="area")`` (adaptive average pooling); ``linear``: corners stay corners.
    """
    if method == "linear":
        return resample(volume, place_size(volume.shape, size, method))
    found = volume
    # The shortest result first, so that the sums after it are over less.
    for axis in sorted(range(3), key=lambda each: size[each] / volume.shape[each]):
        found = _average(found, size[axis], axis)
    return found


def _average(volume: NDArray[np.float32], count: int, axis: int) -> NDArray[np.float32]:
    length = volume.shape[axis]
    if length == count:
        return volume
    index = np.arange(count)
    first = index * length // count
    last = -(-(index + 1) * length // count)
    moved = np.moveaxis(volume, axis, 0)
    out = np.empty((count, *moved.shape[1:]), np.float32)
    for here, low, high in zip(out, first, last, strict=True):
        np.mean(moved[low:high], axis=0, out=here)
    return np.moveaxis(out, 0, axis)


def back_project(
    maps: NDArray[np.float32],
    placement: Placement,
    shape: tuple[int, int, int],
    *,
    threshold: float | None,
) -> NDArray[np.uint8]:
    """Bring maps of probabilities to the source grid, linearly, and choose the class there.

    Parameters
    ----------
    maps : numpy.ndarray, shape (channels, Z, Y, X), dtype float32
        On the network's grid.
    placement : Placement
        Of the network's grid on the source's.
    shape : tuple of int
        Of the source grid.
    threshold : float or None
        None: the largest channel wins, the first among equals.  A number: the same, but a voxel
        whose largest is below it belongs to none.

    Returns
    -------
    numpy.ndarray, shape of the source, dtype uint8
        Index of the channel; with a threshold 0 is none and channels count from 1.
    """
    chosen = np.zeros(shape, np.uint8)
    if threshold is None and len(maps) == 2:
        # Interpolation is linear: which of two is larger is the sign of one difference.
        lead = _image(maps[1] - maps[0])
        for slab, places in _slabs(placement, shape):
            chosen[slab] = _sample(lead, places, "linear") > 0
        return chosen
    shift = 0 if threshold is None else 1
    images = [_image(each) for each in maps]
    for slab, places in _slabs(placement, shape):
        out = chosen[slab]
        best = _sample(images[0], places, "linear")
        out[...] = shift
        for number, image in enumerate(images[1:], start=1):
            here = _sample(image, places, "linear")
            more = here > best
            out[more] = number + shift
            np.copyto(best, here, where=more)
        if threshold is not None:
            out[best < threshold] = 0
    return chosen


def _slabs(placement: Placement, shape: tuple[int, int, int]) -> Iterator[tuple[slice, Placement]]:
    """Cut the source grid into slabs, each placed on the network's grid."""
    step = tuple(1.0 / each for each in placement.step)
    offset = tuple(-o / s for o, s in zip(placement.offset, placement.step, strict=True))
    for first in range(0, shape[0], _SLAB):
        last = min(first + _SLAB, shape[0])
        yield (
            slice(first, last),
            Placement(
                shape=(last - first, shape[1], shape[2]),
                step=(step[0], step[1], step[2]),
                offset=(offset[0] + first * step[0], offset[1], offset[2]),
            ),
        )


def compose(inner: Placement, outer: Placement) -> Placement:
    """Return where the voxels of `inner`, placed on `outer`, lie on what `outer` is placed on."""
    places = list(zip(inner.step, inner.offset, outer.step, outer.offset, strict=True))
    return Placement(
        shape=inner.shape,
        step=_triple([step * over for step, _, over, _ in places]),
        offset=_triple([start + offset * over for _, offset, over, start in places]),
    )


def _triple(values: Sequence[float]) -> Triple:
    return values[0], values[1], values[2]
