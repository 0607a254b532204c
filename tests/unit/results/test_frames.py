"""Which frames a SEG has, and that their bits are those of the mask."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.config import SegConfig
from dicomnode.results.frames import Frame, count_voxels, pack_bits, plan_frames

COUNTS = np.zeros((4, 256), np.int64)
COUNTS[1, 5] = COUNTS[2, 5] = COUNTS[2, 9] = 7
"""Label 5 in slices 1 and 2, label 9 in slice 2."""


@pytest.mark.parametrize("largest", [1, 3, 16, 17, 255])
def test_voxels_are_counted_by_slice_and_label(largest):
    labels = np.random.default_rng(largest).integers(0, largest + 1, (3, 7, 5), dtype=np.uint8)
    labels[1] = 0

    counts = count_voxels(labels)

    wanted = [np.bincount(plane.ravel(), minlength=256) for plane in labels]
    np.testing.assert_array_equal(counts, wanted)


@pytest.mark.parametrize("matrix", [(8, 8), (23, 17), (1, 1), (4, 6), (5, 8)])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 20])
def test_frames_lie_end_to_end_with_the_lowest_bit_first(matrix, count):
    labels = np.random.default_rng(4).integers(0, 3, (count, *matrix), dtype=np.uint8)
    frames = [Frame(k, k + 1, 2, 1) for k in range(count)]

    packed = pack_bits(labels, frames)

    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    np.testing.assert_array_equal(bits[: labels.size].reshape(labels.shape), labels == 2)
    assert not bits[labels.size :].any()
    assert len(packed) % 2 == 0


@pytest.mark.parametrize("matrix", [(8, 8), (23, 17)])
def test_a_voxel_where_segments_overlap_is_in_the_frames_of_each(matrix):
    labels = np.random.default_rng(5).integers(0, 4, (9, *matrix), dtype=np.uint8)
    frames = [Frame(k, k + 1, label, label) for label in (1, 2) for k in range(9)]

    packed = pack_bits(labels, frames, {3: (1, 2)})

    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    first, second = bits[: 2 * labels.size].reshape(2, *labels.shape)
    np.testing.assert_array_equal(first, np.isin(labels, (1, 3)))
    np.testing.assert_array_equal(second, np.isin(labels, (2, 3)))


def test_only_slices_with_a_segment_have_a_frame_for_it():
    frames = plan_frames(COUNTS, {5: 1, 9: 2}, SegConfig())

    assert frames == [Frame(1, 1, 5, 1), Frame(2, 2, 5, 1), Frame(2, 2, 9, 2)]


def test_every_slice_has_a_frame_for_every_segment_on_request():
    frames = plan_frames(COUNTS, {5: 1, 9: 2}, SegConfig(omit_empty_frames=False))

    assert [(each.slice_index, each.segment_number) for each in frames] == [
        (k, number) for number in (1, 2) for k in range(4)
    ]
    assert [each.position for each in frames] == [1, 2, 3, 4] * 2


def test_an_empty_segment_that_is_kept_has_frames_where_the_others_are():
    frames = plan_frames(COUNTS, {5: 1, 7: 2}, SegConfig(empty_segments="keep"))

    assert [(each.slice_index, each.label) for each in frames] == [(1, 5), (2, 5), (1, 7), (2, 7)]


def test_a_label_map_has_one_frame_a_slice():
    frames = plan_frames(COUNTS, {5: 1, 9: 2}, SegConfig(type="labelmap"))

    assert frames == [Frame(1, 1, 0, 0), Frame(2, 2, 0, 0)]
