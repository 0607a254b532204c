"""NIfTI files must lie in the patient as the volume does; SimpleITK is the judge."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK

from dicomnode.imaging.volume import read_series
from dicomnode.model.findings import LabelMap
from dicomnode.results.nifti import encode_label_map, encode_volume
from tests.support.ct import OBLIQUE, make_series


@pytest.fixture(params=[(1, 0, 0, 0, 1, 0), OBLIQUE], ids=["axial", "oblique"])
def volume(tmp_path, request):
    return read_series(make_series(tmp_path / "ct", orientation=request.param)).volume


def judge(content, folder):
    path = folder / "x.nii.gz"
    path.write_bytes(content)
    return SimpleITK.ReadImage(str(path))


def assert_same_place(image, geometry):
    for ijk in ((0, 0, 0), (16, 0, 0), (0, 22, 0), (0, 0, 8), (5, 7, 3)):
        wanted = geometry.to_lps(np.array(ijk, dtype=float))
        assert image.TransformIndexToPhysicalPoint(ijk) == pytest.approx(wanted, abs=1e-3)


def test_a_volume_keeps_its_values_and_its_place(volume, tmp_path):
    image = judge(encode_volume(volume.voxels_hu, volume.geometry), tmp_path)

    assert np.array_equal(SimpleITK.GetArrayFromImage(image), volume.voxels_hu)
    assert image.GetPixelIDTypeAsString() == "16-bit signed integer"
    assert_same_place(image, volume.geometry)


def test_a_label_map_keeps_its_values_and_its_place(volume, tmp_path):
    labels = (volume.voxels_hu > 0).astype(np.uint8) * 3
    image = judge(encode_label_map(LabelMap(labels=labels, geometry=volume.geometry)), tmp_path)

    assert np.array_equal(SimpleITK.GetArrayFromImage(image), labels)
    assert_same_place(image, volume.geometry)


def test_a_repeat_gives_the_same_bytes(volume):
    one, other = (encode_volume(volume.voxels_hu, volume.geometry) for _ in range(2))

    assert one == other


def test_uneven_slices_cannot_be_said(volume):
    places = np.arange(len(volume.voxels_hu)) + np.r_[0, 0.1, np.zeros(len(volume.voxels_hu) - 2)]
    uneven = replace(volume.geometry, slice_places=places)

    with pytest.raises(ValueError, match="wanted evenly spaced slices"):
        encode_volume(volume.voxels_hu, uneven)
