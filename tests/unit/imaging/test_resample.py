"""Resampling against numpy's own interpolation and the definition of adaptive average pooling."""

import numpy as np
import pytest

from dicomnode.imaging.resample import (
    Placement,
    back_project,
    compose,
    place_size,
    place_spacing,
    resample,
    resize,
)

SHAPE = (7, 9, 12)


@pytest.fixture
def volume() -> np.ndarray:
    return np.random.default_rng(7).normal(-500, 300, SHAPE).astype(np.float32)


def along_axes(array: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    for axis, at in enumerate(positions):
        grid = np.arange(array.shape[axis])
        array = np.apply_along_axis(lambda line, g=grid, a=at: np.interp(a, g, line), axis, array)
    return array


def positions(placement: Placement) -> list[np.ndarray]:
    return [
        offset + np.arange(n) * step
        for n, step, offset in zip(placement.shape, placement.step, placement.offset, strict=True)
    ]


def test_a_spacing_keeps_the_first_voxel_and_the_extent():
    placement = place_spacing((61, 9, 12), (2.0, 0.7, 0.9), (5.0, 0.8, 0.8))

    assert placement.shape == (25, 8, 13)
    assert placement.offset == (0, 0, 0)
    assert placement.step == pytest.approx((2.5, 0.8 / 0.7, 0.8 / 0.9))


@pytest.mark.parametrize("wanted", [(5.0, 0.8, 0.8), (1.0, 0.5, 0.31), (2.5, 0.9, 0.7)])
def test_linear_resampling_is_linear_interpolation(volume: np.ndarray, wanted):
    placement = place_spacing(SHAPE, (2.5, 0.9, 0.7), wanted)

    found = resample(volume, placement)

    assert found.shape == placement.shape
    np.testing.assert_allclose(found, along_axes(volume, positions(placement)), atol=0.02)


def test_nearest_resampling_invents_no_value(volume: np.ndarray):
    found = resample(
        volume, place_spacing(SHAPE, (1, 1, 1), (0.4, 1.7, 0.9)), interpolation="nearest"
    )

    assert set(np.unique(found)) <= set(np.unique(volume))


def test_cubic_resampling_goes_through_the_voxels(volume: np.ndarray):
    halves = place_spacing(SHAPE, (1, 1, 1), (0.5, 0.5, 0.5))

    found = resample(volume, halves, interpolation="cubic")

    np.testing.assert_allclose(found[::2, ::2, ::2], volume, atol=0.1)


def pooled(array: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """torch.nn.AdaptiveAvgPool3d, as its documentation and source define it, voxel by voxel."""
    out = np.empty(size)
    for index in np.ndindex(size):
        box = tuple(
            slice(int(np.floor(i * n / m)), int(np.ceil((i + 1) * n / m)))
            for i, n, m in zip(index, array.shape, size, strict=True)
        )
        out[index] = array[box].astype(np.float64).mean()
    return out


@pytest.mark.parametrize("size", [(3, 4, 5), (7, 9, 12), (10, 4, 25), (1, 1, 1), (14, 18, 24)])
def test_area_is_adaptive_average_pooling(volume: np.ndarray, size):
    np.testing.assert_allclose(resize(volume, size, "area"), pooled(volume, size), rtol=1e-4)


def test_linear_resizing_keeps_the_corners(volume: np.ndarray):
    found = resize(volume, (4, 20, 5), "linear")

    assert found.shape == (4, 20, 5)
    np.testing.assert_allclose(found[0, 0, 0], volume[0, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(found[-1, -1, -1], volume[-1, -1, -1], rtol=1e-4)
    expected = along_axes(
        volume, [np.linspace(0, n - 1, m) for n, m in zip(SHAPE, found.shape, strict=True)]
    )
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_placements_compose():
    middle = place_spacing((20, 30, 40), (1, 1, 1), (2.0, 3.0, 0.5))
    inner = place_size(middle.shape, (5, 6, 7), "area")

    both = compose(inner, middle)

    for step in range(5):
        place = [o + step * s for o, s in zip(inner.offset, inner.step, strict=True)]
        there = [o + p * s for o, p, s in zip(middle.offset, place, middle.step, strict=True)]
        here = [o + step * s for o, s in zip(both.offset, both.step, strict=True)]
        assert here == pytest.approx(there)
    assert both.shape == (5, 6, 7)


@pytest.mark.parametrize("channels", [2, 3, 5])
def test_probabilities_come_back_linearly_and_the_largest_wins(channels: int):
    rng = np.random.default_rng(channels)
    placement = place_spacing((40, 23, 31), (1.0, 1.0, 1.0), (2.5, 1.7, 2.1))
    maps = rng.random((channels, *placement.shape), np.float32)
    maps /= maps.sum(0)

    found = back_project(maps, placement, (40, 23, 31), threshold=None)

    at = [np.arange(n) / step for n, step in zip((40, 23, 31), placement.step, strict=True)]
    fine = np.stack([along_axes(each, at) for each in maps])
    ordered = np.sort(fine, axis=0)
    sure = ordered[-1] - ordered[-2] > 1e-5
    assert sure.mean() > 0.99
    np.testing.assert_array_equal(found[sure], fine.argmax(0)[sure])


def test_below_the_threshold_a_voxel_belongs_to_none():
    placement = place_spacing((9, 8, 7), (1, 1, 1), (1, 1, 1))
    maps = np.random.default_rng(1).random((2, 9, 8, 7), np.float32)

    found = back_project(maps, placement, (9, 8, 7), threshold=0.6)

    expected = np.where(maps.max(0) < 0.6, 0, maps.argmax(0) + 1)
    np.testing.assert_array_equal(found, expected)


def test_a_volume_on_its_own_grid_is_a_copy(volume: np.ndarray):
    found = resample(volume, place_spacing(SHAPE, (1, 2, 3), (1, 2, 3)))

    np.testing.assert_array_equal(found, volume)
    assert not np.shares_memory(found, volume)
