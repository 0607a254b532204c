import numpy as np
import pytest

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.manifest import CONTRACTS, SHIPPED_MODELS, find_manifests
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.ratios import Segmented
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.model.volume import VolumeGeometry
from dicomnode.pipeline.layers import lay_over

MANIFESTS = find_manifests([SHIPPED_MODELS, CONTRACTS])
SHAPE = (3, 8, 10)
GEOMETRY = VolumeGeometry(shape_kji=SHAPE, affine_ijk_to_lps=np.diag([0.7, 0.9, 2.5, 1.0]))


def segmented(manifest: Manifest, labels: np.ndarray) -> Segmented:
    segments = describe_segments(
        manifest,
        manifest.identity("triton"),
        labels=labels,
        voxels_hu=np.zeros(SHAPE, np.int16),
        voxel_volume_ml=0.5,
    )
    return Segmented(manifest=manifest, labels=labels, segments=segments)


def test_one_model_alone_keeps_its_labels():
    labels = np.random.default_rng(1).integers(0, 3, SHAPE, np.uint8)

    label_map, segments = lay_over([segmented(MANIFESTS["lung"], labels)], GEOMETRY)

    np.testing.assert_array_equal(label_map.labels, labels)
    assert label_map.overlaps == {}
    assert [each.number for each in segments] == [1, 2]


def test_no_segment_loses_a_voxel_where_three_models_overlap():
    rng = np.random.default_rng(4)
    layers = [
        rng.integers(0, 3, SHAPE, np.uint8),
        rng.integers(0, 3, SHAPE, np.uint8),
        rng.integers(0, 2, SHAPE, np.uint8),
    ]
    names = ("lung", "opacities", "clara-lesion-pt")
    found = [segmented(MANIFESTS[n], each) for n, each in zip(names, layers, strict=True)]

    label_map, segments = lay_over(found, GEOMETRY)

    assert [each.number for each in segments] == [1, 2, 3, 4, 5]
    for number, (layer, value) in enumerate([(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)], start=1):
        found_mask = label_map.values_of(number)[label_map.labels]
        np.testing.assert_array_equal(found_mask, layers[layer] == value)
    uppermost = np.where(layers[2], 5, np.where(layers[1], layers[1] + 2, layers[0]))
    np.testing.assert_array_equal(label_map.flat(), uppermost)
    assert all(value > 5 for value in label_map.overlaps)


def test_models_that_do_not_overlap_need_no_further_values():
    left, right = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    left[:, :, :4], right[:, :, 5:] = 1, 1
    found = [segmented(MANIFESTS["lung"], left), segmented(MANIFESTS["opacities"], right)]

    label_map, _ = lay_over(found, GEOMETRY)

    assert label_map.overlaps == {}
    assert np.unique(label_map.labels).tolist() == [0, 1, 3]


def test_more_overlaps_than_values_are_refused():
    rng = np.random.default_rng(9)
    layers = [rng.integers(0, 3, (3, 80, 100), np.uint8) for _ in range(6)]
    geometry = VolumeGeometry(shape_kji=(3, 80, 100), affine_ijk_to_lps=np.eye(4))
    manifest = MANIFESTS["lung"]
    found = [
        Segmented(
            manifest=manifest,
            labels=each,
            segments=tuple(
                describe_segments(
                    manifest,
                    manifest.identity("triton"),
                    labels=each,
                    voxels_hu=np.zeros(each.shape, np.int16),
                    voxel_volume_ml=1.0,
                )
            ),
        )
        for each in layers
    ]

    with pytest.raises(ModelContractMismatch, match="at most 255"):
        lay_over(found, geometry)
