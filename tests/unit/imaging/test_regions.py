import numpy as np
import pytest

from dicomnode.imaging.regions import body_box, box_of, tidy

SHAPE = (8, 30, 40)


def test_a_box_is_widened_and_ends_at_the_edge():
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 10:12, 33:39] = True

    assert box_of(mask, 0) == (slice(1, 4), slice(10, 12), slice(33, 39))
    assert box_of(mask, 3) == (slice(0, 7), slice(7, 15), slice(30, 40))
    assert box_of(np.zeros(SHAPE, bool), 3) is None


def test_the_body_is_found_beside_a_table():
    hu = np.full(SHAPE, -1000, np.int16)
    hu[:, 6:20, 8:30] = 30
    hu[:, 26:28, 2:38] = 100

    assert body_box(hu, -500, 2) == (slice(0, 8), slice(4, 22), slice(6, 32))
    assert body_box(np.full(SHAPE, -1000, np.int16), -500, 2) is None


@pytest.fixture
def labels() -> np.ndarray:
    """Label 1: a large part with a hole, a middle and a small one; label 2: one part."""
    made = np.zeros(SHAPE, np.uint8)
    made[1:7, 2:12, 2:12] = 1
    made[3, 5, 5] = 0
    made[2:4, 15:20, 2:6] = 1
    made[5, 25, 3] = 1
    made[1:7, 2:12, 20:30] = 2
    return made


def test_the_largest_parts_stay(labels: np.ndarray):
    found = tidy(labels, largest_components=2, fill_holes=False, minimum_voxels=0)

    assert found[5, 25, 3] == 0
    assert found[2, 15, 2] == 1
    np.testing.assert_array_equal(found == 2, labels == 2)


def test_small_parts_go(labels: np.ndarray):
    found = tidy(labels, largest_components=None, fill_holes=False, minimum_voxels=41)

    np.testing.assert_array_equal(np.unique(np.argwhere(found == 1)[:, 1]), np.arange(2, 12))
    assert found[3, 5, 5] == 0


def test_holes_are_filled_but_not_with_another_segment(labels: np.ndarray):
    labels[4, 7, 7] = 2

    found = tidy(labels, largest_components=None, fill_holes=True, minimum_voxels=0)

    assert found[3, 5, 5] == 1
    assert found[4, 7, 7] == 2
    assert labels[3, 5, 5] == 0, "the given array stays as it was"
