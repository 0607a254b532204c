"""Blocks of voxels that become one must lie where they lay, and say what most of them said."""

import numpy as np
import pytest

from dicomnode.console.reduction import reduce_geometry, reduce_labels, reduce_voxels, steps_for
from dicomnode.model.findings import LabelMap
from dicomnode.model.volume import VolumeGeometry

AFFINE = np.array(
    [[0.7, 0, 0, -41.5], [0, 0.9, 0, 12.25], [0, 0, 2.5, -203.0], [0, 0, 0, 1]], dtype=float
)


def geometry(shape):
    return VolumeGeometry(shape_kji=shape, affine_ijk_to_lps=AFFINE)


def test_no_side_is_longer_than_wanted_and_short_ones_are_left_alone():
    assert steps_for((128, 512, 300), 256) == (1, 2, 2)
    assert steps_for((4, 5, 6), 256) == (1, 1, 1)
    assert steps_for((257, 513, 1025), 256) == (2, 3, 5)


def test_a_block_is_the_mean_of_its_voxels_and_lies_at_their_center():
    voxels = np.arange(2 * 7 * 9, dtype=np.int16).reshape(2, 7, 9)
    steps = (1, 3, 2)

    reduced = reduce_voxels(voxels, steps)
    where = reduce_geometry(geometry(voxels.shape), steps)

    assert reduced.shape == where.shape_kji == (2, 2, 4)
    assert reduced[1, 1, 2] == round(voxels[1, 3:6, 4:6].mean())
    # Columns 4 and 5, rows 3 to 5, slice 1.
    wanted = geometry(voxels.shape).to_lps(np.array([4.5, 4.0, 1.0]))
    assert where.to_lps(np.array([2.0, 1.0, 1.0])) == pytest.approx(wanted)


def test_a_block_has_the_label_of_most_of_its_voxels():
    labels = np.zeros((2, 4, 4), np.uint8)
    labels[:, :2, :2] = 5
    labels[0, 0, 0] = 2
    labels[0, 2:, 2:] = 2
    labels[1, 3, 3] = 2
    label_map = LabelMap(labels=labels, geometry=geometry(labels.shape))

    reduced = reduce_labels(label_map, (2, 2, 2))

    assert reduced.labels.tolist() == [[[5, 0], [0, 2]]]


def test_of_labels_that_overlap_the_uppermost_counts():
    labels = np.full((1, 2, 2), 3, np.uint8)
    label_map = LabelMap(labels=labels, geometry=geometry(labels.shape), overlaps={3: (1, 2)})

    assert reduce_labels(label_map, (1, 2, 2)).labels.tolist() == [[[2]]]
    assert reduce_labels(label_map, (1, 1, 1)).labels.tolist() == [[[2, 2], [2, 2]]]


def test_nothing_overflows():
    voxels = np.full((4, 8, 8), 3071, np.int16)

    assert (reduce_voxels(voxels, (4, 8, 8)) == 3071).all()
    labels = LabelMap(labels=np.ones((4, 8, 8), np.uint8), geometry=geometry((4, 8, 8)))
    assert reduce_labels(labels, (4, 8, 8)).labels.tolist() == [[[1]]]
