import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.imaging.orient import to_orientation
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry

SHAPE = (4, 5, 7)
SPACING_IJK = (0.7, 0.9, 2.5)

AXIAL = (1, 0, 0, 0, 1, 0)
CASES = {
    "head first supine": AXIAL,
    "head first prone": (-1, 0, 0, 0, -1, 0),
    "feet first supine, mirrored rows": (-1, 0, 0, 0, 1, 0),
    "decubitus": (0, 1, 0, -1, 0, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (0.96, 0.28, 0, -0.224, 0.768, 0.6),
}


def _volume(orientation, *, slice_sign=1, shear=(0, 0, 0)):
    row, column = np.array(orientation[:3], float), np.array(orientation[3:], float)
    affine = np.eye(4)
    affine[:3, 0] = row * SPACING_IJK[0]
    affine[:3, 1] = column * SPACING_IJK[1]
    affine[:3, 2] = np.cross(row, column) * SPACING_IJK[2] * slice_sign + shear
    affine[:3, 3] = (-41.5, 12.25, -203)
    voxels = np.random.default_rng(3).integers(-1000, 1000, SHAPE).astype(np.int16)
    return Volume(
        voxels_hu=voxels,
        geometry=VolumeGeometry(shape_kji=SHAPE, affine_ijk_to_lps=affine),
        sources=tuple(
            SourceFrame(sop_class_uid="1.2", sop_instance_uid=f"1.{k}", frame_number=None)
            for k in range(SHAPE[0])
        ),
        frame_of_reference_uid="1.3",
    )


def _points(voxels, geometry):
    """Map every voxel's LPS position to its value."""
    k, j, i = np.indices(voxels.shape)
    points = geometry.to_lps(np.stack([i, j, k], axis=-1).astype(float))
    return {
        tuple(point): value
        for point, value in zip(
            np.round(points.reshape(-1, 3), 6) + 0.0, voxels.ravel(), strict=True
        )
    }


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAI", "SPR"])
@pytest.mark.parametrize("slice_sign", [1, -1], ids=["ascending", "descending"])
@pytest.mark.parametrize("cosines", CASES.values(), ids=CASES.keys())
def test_every_voxel_keeps_its_value_and_place(cosines, slice_sign, orientation):
    volume = _volume(cosines, slice_sign=slice_sign)

    turned = to_orientation(volume, orientation)

    assert _points(volume.voxels_hu, volume.geometry) == _points(turned.voxels_hu, turned.geometry)
    assert turned.voxels_hu.flags.c_contiguous
    assert not turned.voxels_hu.flags.writeable


@pytest.mark.parametrize("slice_sign", [1, -1], ids=["ascending", "descending"])
@pytest.mark.parametrize("cosines", CASES.values(), ids=CASES.keys())
def test_axes_grow_where_the_orientation_says(cosines, slice_sign):
    turned = to_orientation(_volume(cosines, slice_sign=slice_sign), "LPS")

    axes = turned.geometry.affine_ijk_to_lps[:3, :3] / turned.geometry.spacing_ijk_mm
    assert (np.diag(axes) > 0.5).all()
    assert turned.spacing_kji_mm == pytest.approx(np.array(turned.geometry.spacing_ijk_mm)[::-1])


def test_a_sagittal_volume_becomes_head_back_left():
    turned = to_orientation(_volume(CASES["sagittal"]), "LPS")

    assert turned.voxels_hu.shape == (SHAPE[1], SHAPE[2], SHAPE[0])
    assert turned.spacing_kji_mm == pytest.approx((0.9, 0.7, 2.5))


def test_a_volume_in_the_wanted_order_is_not_copied():
    volume = _volume(AXIAL)

    turned = to_orientation(volume, "LPS")

    assert np.shares_memory(turned.voxels_hu, volume.voxels_hu)


@pytest.mark.parametrize("cosines", CASES.values(), ids=CASES.keys())
def test_labels_go_back_onto_the_voxels_they_were_found_on(cosines):
    volume = _volume(cosines, slice_sign=-1)
    turned = to_orientation(volume, "LPS")

    restored = turned.restore((turned.voxels_hu > 100).astype(np.uint8))

    np.testing.assert_array_equal(restored, volume.voxels_hu > 100)
    assert restored.flags.c_contiguous
    assert restored.dtype == np.uint8


def test_a_sheared_volume_is_turned_by_its_nearest_axes():
    volume = _volume(AXIAL, shear=(0, 0.7, 0))

    turned = to_orientation(volume, "RAI")

    assert _points(volume.voxels_hu, volume.geometry) == _points(turned.voxels_hu, turned.geometry)


@settings(max_examples=40, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    letters=st.permutations(["LR", "PA", "SI"]),
    picks=st.tuples(*[st.integers(0, 1)] * 3),
)
def test_any_rotation_turns_and_restores(angles, letters, picks):
    a, b, c = angles
    matrix = (
        np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        @ np.array([[1, 0, 0], [0, np.cos(c), -np.sin(c)], [0, np.sin(c), np.cos(c)]])
    )
    volume = _volume((*matrix[:, 0], *matrix[:, 1]))
    orientation = "".join(pair[pick] for pair, pick in zip(letters, picks, strict=True))

    turned = to_orientation(volume, orientation)
    restored = turned.restore((turned.voxels_hu > 0).astype(np.uint8))

    assert _points(volume.voxels_hu, volume.geometry) == _points(turned.voxels_hu, turned.geometry)
    np.testing.assert_array_equal(restored, volume.voxels_hu > 0)


@pytest.mark.parametrize("orientation", ["LP", "LLS", "XYZ", "lps", "", "LPSA"])
def test_what_is_no_orientation_is_refused(orientation):
    with pytest.raises(ValueError, match="wanted an orientation"):
        to_orientation(_volume(AXIAL), orientation)


def test_labels_of_another_shape_are_refused():
    turned = to_orientation(_volume(AXIAL), "LPS")

    with pytest.raises(ValueError, match="wanted uint8 labels of shape"):
        turned.restore(np.zeros((1, 2, 3), np.uint8))
