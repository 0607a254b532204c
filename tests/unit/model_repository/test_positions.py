"""Left stays left however the patient lies: image axes along every pair of patient axes."""

import numpy as np
import pytest
from lungs import LEFT, RIGHT, segment_lungs

from dicomnode.imaging.grid import ModelGrids
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry

TO = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1)}
"""Letter to axis of patient space, LPS, and sign."""


def turned(array, row, column):
    """Lay an array (to the head, to the back, to the left) along image axes."""
    (axis_i, sign_i), (axis_j, sign_j) = TO[row], TO[column]
    sign_k = int(np.cross(sign_i * np.eye(3)[axis_i], sign_j * np.eye(3)[axis_j])[2])
    laid = array.transpose(0, 2 - axis_j, 2 - axis_i)
    return np.ascontiguousarray(laid[::sign_k, ::sign_j, ::sign_i])


def volume_of(voxels_hu, spacing, row, column):
    affine = np.eye(4)
    for index, letter in enumerate((row, column)):
        axis, sign = TO[letter]
        affine[:3, index] = sign * spacing[2 - axis] * np.eye(3)[axis]
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] = spacing[0] * normal / np.linalg.norm(normal)
    affine[:3, 3] = (31.0, -17.0, 250.0)
    source = SourceFrame(sop_class_uid="1.2", sop_instance_uid="1.2.3", frame_number=None)
    return Volume(
        voxels_hu=voxels_hu,
        geometry=VolumeGeometry(shape_kji=voxels_hu.shape, affine_ijk_to_lps=affine),
        sources=(source,) * len(voxels_hu),
        frame_of_reference_uid=None,
    )


@pytest.mark.parametrize(
    ("row", "column"),
    [
        pytest.param("L", "P", id="head first, supine"),
        pytest.param("R", "A", id="head first, prone"),
        pytest.param("R", "P", id="feet first, supine"),
        pytest.param("L", "A", id="feet first, prone"),
        pytest.param("P", "R", id="head first, on the right side"),
        pytest.param("A", "L", id="head first, on the left side"),
        pytest.param("P", "L", id="feet first, on one side"),
        pytest.param("A", "R", id="feet first, on the other side"),
    ],
)
def test_left_is_left_in_every_position(thorax, row, column):
    hu, truth, spacing = thorax
    volume = volume_of(turned(hu, row, column), spacing, row, column)

    grid = ModelGrids(volume).to("LPS")
    labels = grid.restore(segment_lungs(grid.voxels_hu, grid.spacing_kji_mm))

    wanted = turned(truth, row, column)
    for side in (LEFT, RIGHT):
        found = labels == side
        both = 2 * (found & (wanted == side)).sum()
        assert both / (found.sum() + (wanted == side).sum()) > 0.97
