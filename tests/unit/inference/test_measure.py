from pathlib import Path

import numpy as np
import pytest

from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.standard.codes import LEFT, LUNG, VOLUME

SHAPE = (5, 7, 11)


@pytest.fixture
def manifest(tmp_path: Path, segmenting: str) -> Manifest:
    path = tmp_path / "manifest.toml"
    path.write_text(segmenting)
    return load_manifest(path)


def described(manifest: Manifest, labels: np.ndarray, voxels_hu: np.ndarray):
    return describe_segments(
        manifest,
        manifest.identity("triton 2.51.0"),
        labels=labels,
        voxels_hu=voxels_hu,
        voxel_volume_ml=0.7 * 0.9 * 2.5 / 1000,
    )


def test_volume_and_mean_are_of_the_segment_alone(manifest: Manifest):
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 3, SHAPE, dtype=np.uint8)
    voxels = generator.integers(-1000, 3000, SHAPE, dtype=np.int16)

    left, right = described(manifest, labels, voxels)

    for number, segment in ((1, left), (2, right)):
        inside = voxels[labels == number]
        volume, mean = segment.measurements
        assert segment.number == number
        assert segment.volume_ml == volume.value == pytest.approx(inside.size * 1.575e-3)
        assert (volume.name, volume.unit.value) == (VOLUME, "mL")
        assert mean.value == pytest.approx(inside.mean(dtype=np.float64))
        assert (mean.name.value, mean.name.scheme_designator) == ("112031", "DCM")
        assert mean.unit.value == "[hnsf'U]"
        assert mean.derivation is not None
        assert mean.derivation.value == "373098007"
    assert (left.property_type, left.laterality) == (LUNG, LEFT)


def test_a_segment_that_was_not_found_is_told_empty_and_has_no_mean(manifest: Manifest):
    labels = np.zeros(SHAPE, np.uint8)
    labels[4, 6, 10] = 1

    left, right = described(manifest, labels, np.full(SHAPE, -850, np.int16))

    assert left.measurements[1].value == -850
    assert right.volume_ml == 0
    assert [each.name for each in right.measurements] == [VOLUME]


def test_sums_do_not_overflow_small_integers(manifest: Manifest):
    labels = np.ones((2, 300, 301), np.uint8)

    left, _ = described(manifest, labels, np.full(labels.shape, 32767, np.int16))

    assert left.measurements[1].value == 32767


def test_a_label_that_the_manifest_lacks_is_refused(manifest: Manifest):
    labels = np.full(SHAPE, 3, np.uint8)

    with pytest.raises(ValueError, match="0 to 2, found 3"):
        described(manifest, labels, np.zeros(SHAPE, np.int16))


def test_grids_must_be_the_same(manifest: Manifest):
    with pytest.raises(ValueError, match="shape"):
        described(manifest, np.zeros(SHAPE[::-1], np.uint8), np.zeros(SHAPE, np.int16))
