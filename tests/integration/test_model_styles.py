"""Layouts, file formats and post-processing of manifests, through models in a real Triton.

The models mark one voxel by an index of their own or by a point of the patient: it must come back
onto the voxel of the source that lies there, on a volume that is unequal on every axis.
"""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.imaging.grid import ModelGrids
from dicomnode.inference.client import TritonClient
from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry
from dicomnode.pipeline.asking import label_volume

SHAPE_KJI = (9, 23, 17)
ORIGIN_LPS = (-41.5, 12.25, -203.0)
SPACING_IJK_MM = (0.7, 0.9, 2.5)

# What the model nifti_labels marks: (-38.6, 14.85, -198.0) less the origin, by the spacing.
MARKED_BY_POINT_KJI = (2, 3, 4)

HEADER = """
schema_version = 1
name = "styled"
task = "segment"
[triton]
model = "{model}"
[algorithm]
name = "Styled"
version = "1"
manufacturer = "dicomnode tests"
family = {{ value = "123109", scheme = "DCM", meaning = "Manual Processing" }}
license = "Apache-2.0"
intended_use = "Tests."
[[segments]]
number = 1
label = "Bright"
category = {{ value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }}
type = {{ value = "39607008", scheme = "SCT", meaning = "Lung" }}
color_rgb = [ 1, 2, 3 ]
[[segments]]
number = 2
label = "Marked"
category = {{ value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }}
type = {{ value = "39607008", scheme = "SCT", meaning = "Lung" }}
color_rgb = [ 1, 2, 3 ]
"""
CHANNELS_LAST = """
[input]
orientation = "LPS"
volume = { dtype = "FP32", layout = "NDHWC" }
[output.probabilities]
dtype = "FP32"
layout = "NDHWC"
activation = "softmax"
channels = [ 0, 1, 2 ]
"""
COLUMNS_FIRST = """
[input]
orientation = "{orientation}"
volume = {{ dtype = "INT16", layout = "XYZ" }}
[output]
labels = {{ dtype = "UINT8", layout = "XYZ" }}
"""
NIFTI = """
[input]
orientation = "{orientation}"
nifti = {{ gzip = {gzip} }}
[output]
nifti = {{}}
"""


@pytest.fixture
def manifest_of(tmp_path: Path):
    def make(model: str, text: str) -> Manifest:
        path = tmp_path / "manifest.toml"
        path.write_text(HEADER.format(model=model) + text)
        return load_manifest(path)

    return make


def volume_of(voxels_hu: np.ndarray) -> Volume:
    affine = np.diag([*SPACING_IJK_MM, 1.0])
    affine[:3, 3] = ORIGIN_LPS
    source = SourceFrame(sop_class_uid="1.2", sop_instance_uid="1.2.3", frame_number=None)
    return Volume(
        voxels_hu=voxels_hu,
        geometry=VolumeGeometry(shape_kji=voxels_hu.shape, affine_ijk_to_lps=affine),
        sources=(source,) * len(voxels_hu),
        frame_of_reference_uid=None,
    )


@pytest.fixture
def voxels_hu() -> np.ndarray:
    return np.random.default_rng(7).integers(-1000, 500, SHAPE_KJI, dtype=np.int16)


def wanted(voxels_hu: np.ndarray, marked: tuple[int, int, int]) -> np.ndarray:
    labels = (voxels_hu > 0).astype(np.uint8)
    labels[marked] = 2
    return labels


def label(client: TritonClient, manifest: Manifest, voxels_hu: np.ndarray) -> np.ndarray:
    client.check_contract(manifest)
    return label_volume(client, manifest, ModelGrids(volume_of(voxels_hu)), [])


def test_channels_last(stand_ins: TritonClient, manifest_of, voxels_hu: np.ndarray):
    found = label(stand_ins, manifest_of("channels_last", CHANNELS_LAST), voxels_hu)

    np.testing.assert_array_equal(found, wanted(voxels_hu, (1, 2, 3)))


@pytest.mark.parametrize(
    ("orientation", "marked"),
    [
        ("LPS", (1, 2, 3)),
        ("RAS", (1, 23 - 1 - 2, 17 - 1 - 3)),
        # X runs down, Y to the right, Z to the back.
        ("IRP", (9 - 1 - 3, 1, 17 - 1 - 2)),
    ],
)
def test_columns_first(
    stand_ins: TritonClient, manifest_of, voxels_hu: np.ndarray, orientation: str, marked
):
    manifest = manifest_of("columns_first", COLUMNS_FIRST.format(orientation=orientation))

    found = label(stand_ins, manifest, voxels_hu)

    np.testing.assert_array_equal(found, wanted(voxels_hu, marked))


@pytest.mark.parametrize("gzip", ["true", "false"])
@pytest.mark.parametrize("orientation", ["LPS", "RAS", "IRP"])
def test_a_file_in_and_a_file_out(
    stand_ins: TritonClient, manifest_of, voxels_hu: np.ndarray, orientation: str, gzip: str
):
    manifest = manifest_of("nifti_labels", NIFTI.format(orientation=orientation, gzip=gzip))

    found = label(stand_ins, manifest, voxels_hu)

    np.testing.assert_array_equal(found, wanted(voxels_hu, MARKED_BY_POINT_KJI))


def test_post_processing_is_done_on_what_the_model_says(stand_ins: TritonClient, manifest_of):
    """Largest parts, then holes, then size: the marked voxel fills a hole's place and is too small.

    A voxel holds 0.001575 mL.
    """
    hu = np.full(SHAPE_KJI, -500, np.int16)
    hu[2:8, 3:13, 3:13] = 100  # the largest part, with a hole
    hu[4, 6, 6] = -500
    hu[2:7, 16:20, 3:8] = 100  # the second
    hu[7, 21, 14] = 100  # the third
    tidied = manifest_of(
        "channels_last",
        CHANNELS_LAST
        + "[post_processing]\nlargest_components = 2\nfill_holes = true\nminimum_ml = 0.0016\n",
    )

    plain = label(stand_ins, manifest_of("channels_last", CHANNELS_LAST), hu)
    found = label(stand_ins, tidied, hu)

    assert plain[4, 6, 6] == 0
    assert plain[1, 2, 3] == 2
    assert plain[7, 21, 14] == 1
    expected = (hu > 0).astype(np.uint8)
    expected[4, 6, 6] = 1
    expected[7, 21, 14] = 0
    np.testing.assert_array_equal(found, expected)
