"""Volumes and their geometry: patient space, axis order, units.  Unequal on every axis."""

import highdicom
import numpy as np
import pytest
import SimpleITK

from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry

SHAPE_KJI = (3, 5, 7)
SPACING_IJK_MM = (0.7, 0.9, 2.5)
ORIGIN_LPS_MM = (-101.5, 33.25, -412.0)


def oblique_directions() -> np.ndarray:
    """Row cosines, column cosines and their cross product, as columns."""
    row = np.array([0.9, 0.3, 0.1])
    row /= np.linalg.norm(row)
    column = np.array([-0.2, 0.8, 0.4])
    column -= column @ row * row
    column /= np.linalg.norm(column)
    return np.stack([row, column, np.cross(row, column)], axis=1)


def affine(directions: np.ndarray | None = None) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = (oblique_directions() if directions is None else directions) * SPACING_IJK_MM
    matrix[:3, 3] = ORIGIN_LPS_MM
    return matrix


@pytest.fixture
def geometry() -> VolumeGeometry:
    return VolumeGeometry(shape_kji=SHAPE_KJI, affine_ijk_to_lps=affine())


def sources(count: int) -> tuple[SourceFrame, ...]:
    return tuple(
        SourceFrame(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=f"1.2.{index}",
            frame_number=None,
        )
        for index in range(count)
    )


def test_an_index_lies_where_itk_says_it_lies(geometry):
    image = SimpleITK.Image(SHAPE_KJI[::-1], SimpleITK.sitkInt16)
    image.SetSpacing(SPACING_IJK_MM)
    image.SetOrigin(ORIGIN_LPS_MM)
    image.SetDirection(oblique_directions().ravel().tolist())
    index_ijk = (6, 1, 2)

    expected = image.TransformIndexToPhysicalPoint(index_ijk)

    np.testing.assert_allclose(geometry.to_lps(np.array(index_ijk, float)), expected, atol=1e-9)


def test_a_pixel_lies_where_highdicom_says_it_lies(geometry):
    directions = oblique_directions()
    transformer = highdicom.spatial.PixelToReferenceTransformer(
        image_position=ORIGIN_LPS_MM,
        image_orientation=[*directions[:, 0], *directions[:, 1]],
        pixel_spacing=[SPACING_IJK_MM[1], SPACING_IJK_MM[0]],
    )

    expected = transformer(np.array([[4, 2]]))

    np.testing.assert_allclose(geometry.to_lps(np.array([[4.0, 2.0, 0.0]])), expected, atol=1e-9)


def test_many_indices_are_mapped_at_once(geometry):
    indices = np.arange(24, dtype=float).reshape(2, 4, 3)

    points = geometry.to_lps(indices)

    assert points.shape == (2, 4, 3)
    np.testing.assert_allclose(points[1, 2], geometry.to_lps(indices[1, 2]))


def test_spacing_is_told_in_index_order(geometry):
    assert pytest.approx(SPACING_IJK_MM) == geometry.spacing_ijk_mm


def test_a_voxel_has_the_product_of_the_spacings(geometry):
    assert pytest.approx(0.7 * 0.9 * 2.5 / 1000) == geometry.voxel_volume_ml


def test_a_tilted_gantry_does_not_change_the_volume_of_a_voxel():
    # Each slice is shifted along the columns: the slice axis is longer than the slice distance.
    sheared = affine(np.eye(3))
    sheared[1, 2] = 1.1
    geometry = VolumeGeometry(shape_kji=SHAPE_KJI, affine_ijk_to_lps=sheared)

    assert pytest.approx(0.7 * 0.9 * 2.5 / 1000) == geometry.voxel_volume_ml
    assert pytest.approx(np.hypot(2.5, 1.1)) == geometry.spacing_ijk_mm[2]


def test_geometry_cannot_be_changed_from_outside():
    given = affine()
    geometry = VolumeGeometry(shape_kji=SHAPE_KJI, affine_ijk_to_lps=given)

    given[0, 3] = 0.0

    assert ORIGIN_LPS_MM[0] == geometry.affine_ijk_to_lps[0, 3]
    with pytest.raises(ValueError, match="read-only"):
        geometry.affine_ijk_to_lps[0, 3] = 0.0


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        pytest.param(np.eye(3), "4 x 4", id="three by three"),
        pytest.param(affine().T, "last row", id="transposed"),
        pytest.param(affine() * [1, 0, 1, 1], "linearly independent", id="an axis of length zero"),
        pytest.param(affine()[:, [0, 0, 2, 3]], "linearly independent", id="one axis twice"),
        pytest.param(affine() * [1, np.nan, 1, 1], "finite", id="not a number"),
        pytest.param(affine() * [1, 1, 1, np.inf], "finite", id="infinite origin"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_an_affine_that_maps_no_grid_is_refused(broken, words):
    with pytest.raises(ValueError, match=words):
        VolumeGeometry(shape_kji=SHAPE_KJI, affine_ijk_to_lps=broken)


@pytest.mark.parametrize("shape_kji", [(0, 5, 7), (3, 0, 7), (3, 5, -1)])
def test_a_grid_without_voxels_is_refused(shape_kji):
    with pytest.raises(ValueError, match="at least one voxel"):
        VolumeGeometry(shape_kji=shape_kji, affine_ijk_to_lps=affine())


def test_a_volume_is_read_only(geometry):
    volume = Volume(
        voxels_hu=np.zeros(SHAPE_KJI, np.int16),
        geometry=geometry,
        sources=sources(3),
        frame_of_reference_uid=None,
    )

    with pytest.raises(ValueError, match="read-only"):
        volume.voxels_hu[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("voxels_hu", "source_count", "words"),
    [
        pytest.param(np.zeros(SHAPE_KJI, np.float32), 3, "int16.*float32", id="dtype"),
        pytest.param(
            np.zeros(SHAPE_KJI[::-1], np.int16), 3, r"\(3, 5, 7\).*\(7, 5, 3\)", id="axes"
        ),
        pytest.param(
            np.zeros(SHAPE_KJI, np.int16), 7, "one source a slice, 3, found 7", id="sources"
        ),
    ],
)
def test_a_volume_that_contradicts_its_geometry_is_refused(
    geometry, voxels_hu, source_count, words
):
    with pytest.raises(ValueError, match=words):
        Volume(
            voxels_hu=voxels_hu,
            geometry=geometry,
            sources=sources(source_count),
            frame_of_reference_uid="1.2.3",
        )
