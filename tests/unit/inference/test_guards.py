from pathlib import Path

import numpy as np
import pytest

from dicomnode.inference.guards import check_lungs
from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.measure import describe_segments

SHAPE = (6, 10, 14)
LEFT, RIGHT = 1, 2


@pytest.fixture
def names(tmp_path: Path, segmenting: str):
    """Guards for a label map whose voxels measure 20 mL each, by name."""
    path = tmp_path / "manifest.toml"
    path.write_text(segmenting)
    manifest = load_manifest(path)

    def check(labels: np.ndarray) -> dict[str, bool]:
        segments = describe_segments(
            manifest,
            manifest.identity("triton 2.51.0"),
            labels=labels,
            voxels_hu=np.full(SHAPE, -850, np.int16),
            voxel_volume_ml=20,
        )
        return {each.name: each.blocks for each in check_lungs(labels, segments)}

    return check


def lungs() -> np.ndarray:
    """Two lungs of 96 and 72 voxels, away from the first and the last slice."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:5, 2:8, 8:12] = LEFT
    labels[1:5, 2:8, 2:5] = RIGHT
    return labels


def test_two_whole_lungs_raise_no_doubt(names):
    assert names(lungs()) == {}


def test_no_lungs_block(names):
    assert names(np.zeros(SHAPE, np.uint8)) == {"no_lungs": True}


def test_one_lung_is_doubtful(names):
    labels = lungs()
    labels[labels == RIGHT] = 0

    assert names(labels) == {"one_lung_missing": False}


def test_a_speck_is_no_lung(names):
    labels = lungs()
    labels[labels == LEFT] = 0
    labels[3, 3, 9:11] = LEFT

    assert names(labels) == {"one_lung_missing": False}


@pytest.mark.parametrize(
    ("index", "name"), [(0, "lungs_touch_first_slice"), (-1, "lungs_touch_last_slice")]
)
def test_lungs_at_the_end_of_the_series_may_be_incomplete(names, index: int, name: str):
    labels = lungs()
    labels[index, 4, 3] = RIGHT

    assert names(labels) == {name: False}


@pytest.mark.parametrize("count", [12, 650], ids=["too little", "too much"])
def test_an_implausible_volume_blocks(names, count: int):
    labels = np.zeros(SHAPE, np.uint8)
    labels.flat[:count:2] = LEFT
    labels.flat[1:count:2] = RIGHT

    assert names(labels)["implausible_lung_volume"] is True


def test_other_organs_are_not_judged(tmp_path: Path, segmenting: str):
    path = tmp_path / "manifest.toml"
    path.write_text(segmenting.replace('"39607008"', '"10200004"').replace('"Lung" }', '"Liver" }'))
    manifest = load_manifest(path)
    labels = np.zeros(SHAPE, np.uint8)
    segments = describe_segments(
        manifest,
        manifest.identity("triton 2.51.0"),
        labels=labels,
        voxels_hu=np.zeros(SHAPE, np.int16),
        voxel_volume_ml=20,
    )

    assert check_lungs(labels, segments) == ()
