import numpy as np
import pytest

from dicomnode.inference.windows import (
    Blend,
    batches,
    pad_to_window,
    window_starts,
    window_weights,
)


@pytest.mark.parametrize(
    ("length", "window", "overlap", "starts"),
    [
        (10, 4, 0.5, [0, 2, 4, 6]),
        (11, 4, 0.5, [0, 2, 4, 6, 7]),
        (4, 4, 0.5, [0]),
        (9, 4, 0.0, [0, 4, 5]),
        (448, 224, 0.6, [0, 89, 178, 224]),
    ],
)
def test_windows_start_where_the_overlap_says_and_end_at_the_edge(length, window, overlap, starts):
    found = window_starts((length, 7, 9), (window, 7, 9), overlap)

    assert found == tuple((start, 0, 0) for start in starts)


@pytest.mark.parametrize("blending", ["constant", "gaussian"])
def test_a_volume_cut_into_windows_and_blended_is_itself(blending: str):
    volume = np.random.default_rng(1).random((9, 13, 17), np.float32)
    window = (4, 5, 6)
    blend = Blend.of(1, volume.shape, window_weights(window, blending))

    for k, j, i in window_starts(volume.shape, window, 0.4):
        blend.add((k, j, i), volume[None, k : k + 4, j : j + 5, i : i + 6])

    np.testing.assert_allclose(blend.mean()[0], volume, rtol=1e-5)


def test_gaussian_weights_are_highest_in_the_middle_and_nowhere_none():
    weights = window_weights((4, 5, 32), "gaussian")

    assert weights[1, 2, 15] == weights.max()
    assert weights.min() == np.float32(1e-3)
    expected = np.exp(-(0.5**2) / (2 * (0.125 * 32) ** 2)) * np.exp(-(0.5**2) / (2 * 0.5**2))
    assert weights[1, 2, 15] == pytest.approx(expected, rel=1e-5)


def test_a_short_volume_is_padded_on_both_sides_and_found_again():
    volume = np.ones((3, 8, 5), np.float32)

    padded, inner = pad_to_window(volume, (6, 4, 6), 7.0)

    assert padded.shape == (6, 8, 6)
    np.testing.assert_array_equal(padded[inner], volume)
    assert padded[0, 0, 0] == padded[-1, -1, -1] == 7
    assert (inner[0].start, inner[2].start) == (1, 0)


def test_windows_are_grouped_in_order():
    starts = window_starts((10, 1, 1), (4, 1, 1), 0.5)

    assert [len(group) for group in batches(starts, 3)] == [3, 1]
