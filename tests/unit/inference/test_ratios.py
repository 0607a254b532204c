from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.inference.manifest import CONTRACTS, SHIPPED_MODELS, find_manifests
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.ratios import Segmented, add_ratios, structure_mask
from dicomnode.inference.schema.manifest import Manifest

MANIFESTS = find_manifests([SHIPPED_MODELS, CONTRACTS])
SHAPE = (4, 10, 20)


def segmented(manifest: Manifest, labels: np.ndarray) -> Segmented:
    segments = describe_segments(
        manifest,
        manifest.identity("triton"),
        labels=labels,
        voxels_hu=np.zeros(SHAPE, np.int16),
        voxel_volume_ml=0.5,
    )
    return Segmented(manifest=manifest, labels=labels, segments=segments)


@pytest.fixture
def lungs() -> Segmented:
    labels = np.zeros(SHAPE, np.uint8)
    labels[:, :, 12:] = 1
    labels[:, :, :8] = 2
    return segmented(MANIFESTS["lung"], labels)


def named(found: Segmented, number: int) -> dict[str, float]:
    (segment,) = (each for each in found.segments if each.number == number)
    return {each.name.value: each.value for each in segment.measurements}


def test_the_ratio_of_volumes_is_reported_with_the_lesion(lungs: Segmented):
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, :5, 10:14] = 1  # a part outside the lungs counts: two masks, two volumes

    both = add_ratios([lungs, segmented(MANIFESTS["clara-lesion-pt"], labels)])

    assert named(both[1], 1)["lesion-to-lung"] == pytest.approx(100 * 20 / 640)


def test_shares_are_reported_with_each_lung_and_count_what_lies_in_it(lungs: Segmented):
    labels = np.zeros(SHAPE, np.uint8)
    labels[0, :, 10:14] = 1
    labels[1, :, :4] = 2

    both = add_ratios([lungs, segmented(MANIFESTS["opacities"], labels)])

    left, right = named(both[0], 1), named(both[0], 2)
    assert left["ground-glass-pct"] == pytest.approx(100 * 20 / 320)
    assert left["consolidat-pct"] == 0
    assert right["ground-glass-pct"] == 0
    assert right["consolidat-pct"] == pytest.approx(100 * 40 / 320)


def test_a_ratio_to_nothing_is_left_out():
    empty = np.zeros(SHAPE, np.uint8)
    lungs = segmented(MANIFESTS["lung"], empty)

    both = add_ratios(
        [
            lungs,
            segmented(MANIFESTS["clara-lesion-pt"], empty),
            segmented(MANIFESTS["opacities"], empty),
        ]
    )

    assert list(named(both[1], 1)) == [lungs.segments[0].measurements[0].name.value]
    assert len(named(both[0], 1)) == 1


def test_a_structure_is_found_by_type_and_side(lungs: Segmented):
    left, right = MANIFESTS["opacities"].input.labels.values
    (both,) = MANIFESTS["clara-covid"].input.crop.structures

    np.testing.assert_array_equal(structure_mask([lungs], [left]), lungs.labels == 1)
    np.testing.assert_array_equal(structure_mask([lungs], [right]), lungs.labels == 2)
    np.testing.assert_array_equal(structure_mask([lungs], [both]), lungs.labels > 0)


def test_a_structure_that_nobody_looked_for_is_none(lungs: Segmented):
    sideless = replace(
        lungs, segments=tuple(replace(each, laterality=None) for each in lungs.segments)
    )
    left = MANIFESTS["opacities"].input.labels.values[0]

    assert structure_mask([sideless], [left]) is None
    assert structure_mask([], [left]) is None


def test_the_contracts_are_there():
    assert {path.parent.name for path in Path(CONTRACTS).glob("*/manifest.toml")} >= {
        "clara_lung",
        "clara_covid",
        "clara_lesion_pt",
    }
