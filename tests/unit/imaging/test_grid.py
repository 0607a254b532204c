"""The grid that a model sees of tilted and of uneven slices, and the way back."""

import numpy as np
import pytest
import SimpleITK

from dicomnode.imaging import grid as grid_module
from dicomnode.imaging.export import write_volume
from dicomnode.imaging.grid import ModelGrids, needs_resampling, straighten, to_model_grid
from dicomnode.imaging.volume import read_volume
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry
from tests.support.ct import BRIGHT_HU, asymmetric_hu, bright_kji, make_series

SHAPE_KJI = (9, 23, 17)


def _volume(*, shear=(0.0, 0.0), places=None, hu=None):
    affine = np.diag([0.7, 0.9, 2.5, 1.0])
    affine[:2, 2] = shear
    affine[:3, 3] = (-41.5, 12.25, -203.0)
    voxels = asymmetric_hu(SHAPE_KJI) if hu is None else hu
    geometry = VolumeGeometry(shape_kji=SHAPE_KJI, affine_ijk_to_lps=affine, slice_places=places)
    sources = tuple(
        SourceFrame(sop_class_uid="1.2", sop_instance_uid=f"1.2.{k}", frame_number=None)
        for k in range(SHAPE_KJI[0])
    )
    return Volume(voxels_hu=voxels, geometry=geometry, sources=sources, frame_of_reference_uid=None)


def _of_lps(volume):
    """A volume whose value is a linear function of its place: interpolation keeps it exactly."""
    k, j, i = np.indices(volume.geometry.shape_kji)
    places = volume.geometry.slice_places
    along = k if places is None else places[k]
    points = volume.geometry.to_lps(np.stack([i, j, along], axis=-1).astype(float))
    return points @ (2.0, 3.0, 4.0)


def test_an_orthogonal_regular_volume_is_not_resampled():
    volume = _volume()

    grid = to_model_grid(volume, "LPS")

    assert not needs_resampling(volume.geometry)
    assert grid.voxels_hu.base is not None or grid.voxels_hu is volume.voxels_hu


@pytest.mark.parametrize("shear", [(0.0, 0.62), (0.0, -0.62), (0.35, 0.0), (-0.5, 0.7)])
def test_a_tilted_volume_gets_right_angles_and_every_value_stays_at_its_place(shear):
    tilted = _volume(shear=shear)
    tilted = _volume(shear=shear, hu=np.rint(_of_lps(tilted)).astype(np.int16))

    grid = to_model_grid(tilted, "LPS")

    axes = grid.geometry.affine_ijk_to_lps[:3, :3]
    np.testing.assert_allclose(axes.T @ axes, np.diag([0.49, 0.81, 6.25]), atol=1e-9)
    k, j, i = np.nonzero(grid.voxels_hu > -1024)
    values = grid.geometry.to_lps(np.stack([i, j, k], axis=-1).astype(float)) @ (2.0, 3.0, 4.0)
    assert len(values) > 0.85 * tilted.voxels_hu.size
    off = np.abs(grid.voxels_hu[k, j, i] - values)
    # Half a pixel beyond the outermost centers the edge's own value goes on.
    assert off.max() < 2.5
    assert (off < 1.01).mean() > 0.9


@pytest.mark.parametrize("shear", [(0.0, 0.62), (-0.5, -0.7)])
def test_labels_of_a_tilted_volume_go_back_onto_the_slices_they_belong_to(shear):
    tilted = _volume(shear=shear)
    labels = np.zeros(SHAPE_KJI, np.uint8)
    labels[1:8, 4:19, 3:14] = 1
    labels[5, 9, 7] = 2

    grid = to_model_grid(tilted, "LPS")
    back = grid.restore(grid.apply(labels))

    assert back.shape == SHAPE_KJI
    np.testing.assert_array_equal(back, labels)


def test_each_grid_of_a_volume_is_made_once(monkeypatch):
    made = []
    monkeypatch.setattr(
        grid_module, "straighten", lambda volume: made.append(volume) or straighten(volume)
    )
    tilted = _volume(shear=(0.0, 0.62))

    grids = ModelGrids(tilted)
    first, other = grids.to("LPS"), grids.to("RAS")

    assert grids.to("LPS") is first
    np.testing.assert_array_equal(other.voxels_hu, first.voxels_hu[:, ::-1, ::-1])
    assert made == [tilted]


def test_a_bright_voxel_found_by_a_model_is_marked_in_its_own_slice():
    tilted = _volume(shear=(0.0, 0.9))  # one row a slice: the grids share their voxel centers
    bright = bright_kji(SHAPE_KJI)

    grid = to_model_grid(tilted, "LPS")
    found = grid.restore((grid.voxels_hu == BRIGHT_HU).astype(np.uint8))

    assert np.argwhere(found).tolist() == [list(bright)]


def test_uneven_slices_are_seen_evenly_and_labels_go_back_to_each():
    places = np.array([0, 1.2, 2.0, 2.9, 4.1, 5.0, 6.0, 6.8, 8.0])
    uneven = _volume(places=places)
    uneven = _volume(places=places, hu=np.rint(_of_lps(uneven)).astype(np.int16))

    grid = to_model_grid(uneven, "LPS")

    k, j, i = np.indices(grid.voxels_hu.shape)
    values = grid.geometry.to_lps(np.stack([i, j, k], axis=-1).astype(float)) @ (2.0, 3.0, 4.0)
    np.testing.assert_allclose(grid.voxels_hu, values, atol=1.01)
    labels = np.zeros(grid.voxels_hu.shape, np.uint8)
    labels[3] = 7
    assert np.flatnonzero(grid.restore(labels).any(axis=(1, 2))).tolist() == [3]
    np.testing.assert_array_equal(
        grid.restore(grid.apply(grid.restore(labels))), grid.restore(labels)
    )


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.mha"])
@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1)])
def test_a_written_volume_is_read_by_itk_with_values_and_place(tmp_path, name, orientation):
    volume = read_volume(make_series(tmp_path / "in", orientation=orientation))

    write_volume(volume, tmp_path / "out" / name)

    image = SimpleITK.ReadImage(tmp_path / "out" / name)
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), volume.voxels_hu)
    k, j, i = bright_kji(volume.voxels_hu.shape)
    np.testing.assert_allclose(
        image.TransformIndexToPhysicalPoint((i, j, k)),
        volume.geometry.to_lps(np.array([i, j, k], float)),
        atol=1e-3,
    )


def test_a_tilted_volume_is_written_with_right_angles(tmp_path):
    write_volume(_volume(shear=(0.0, 0.62)), tmp_path / "ct.nii.gz")

    image = SimpleITK.ReadImage(tmp_path / "ct.nii.gz")
    direction = np.array(image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction.T @ direction, np.eye(3), atol=1e-6)
    assert image.GetSize() == (17, 29, 9)


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match="wanted a name that ends with"):
        write_volume(_volume(), tmp_path / "ct.png")
