from pathlib import Path

import numpy as np
import pytest

from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.segment import volume_inputs

SHAPE = (3, 5, 7)


def test_a_contiguous_volume_is_not_copied(tmp_path: Path, segmenting: str):
    path = tmp_path / "manifest.toml"
    path.write_text(segmenting)
    voxels = np.zeros(SHAPE, np.int16)
    voxels.flags.writeable = False

    inputs = volume_inputs(load_manifest(path), voxels_hu=voxels, spacing_kji_mm=(2.5, 0.9, 0.7))

    assert np.shares_memory(inputs["VOLUME_HU"], voxels)
    np.testing.assert_array_equal(inputs["SPACING_MM"], np.array([2.5, 0.9, 0.7], np.float32))


def test_a_model_for_floats_gets_floats(tmp_path: Path, segmenting: str):
    path = tmp_path / "manifest.toml"
    path.write_text(segmenting.replace('"INT16"', '"FP32"'))

    inputs = volume_inputs(
        load_manifest(path),
        voxels_hu=np.full(SHAPE, -700, np.int16),
        spacing_kji_mm=(2.5, 0.9, 0.7),
    )

    assert inputs["VOLUME_HU"].dtype == np.float32
    assert inputs["VOLUME_HU"][2, 4, 6] == -700


@pytest.mark.parametrize(
    ("voxels", "spacing", "text"),
    [
        (np.zeros(SHAPE, np.float32), (2.5, 0.9, 0.7), "int16"),
        (np.zeros((5, 7), np.int16), (2.5, 0.9, 0.7), "three axes"),
        (np.zeros(SHAPE, np.int16), (2.5, 0.0, 0.7), "positive"),
        (np.zeros(SHAPE, np.int16), (float("nan"), 0.9, 0.7), "positive"),
    ],
)
def test_what_is_no_volume_is_refused(
    tmp_path: Path, segmenting: str, voxels: np.ndarray, spacing: tuple, text: str
):
    path = tmp_path / "manifest.toml"
    path.write_text(segmenting)

    with pytest.raises(ValueError, match=text):
        volume_inputs(load_manifest(path), voxels_hu=voxels, spacing_kji_mm=spacing)
