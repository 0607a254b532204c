"""What a model sees of tilted and uneven slices, and that its labels come back onto them."""

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.imaging.grid import ModelGrids
from dicomnode.inference.manifest import SHIPPED_MODELS, find_manifests
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.ratios import Segmented
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry
from dicomnode.pipeline.asking import label_volume

MANIFESTS = find_manifests([SHIPPED_MODELS])
SHAPE_KJI = (9, 23, 17)
PLACES = np.array([0, 1, 2, 3, 4, 5, 6, 8, 9], float)


class Threshold:
    """Answers with 1 where the volume that it was sent is bright, 2 where a label was sent too."""

    def __init__(self):
        self.seen = []

    def resolved(self, manifest):
        return manifest

    def infer(self, manifest, inputs, _outputs, *, cancelled=None):
        assert cancelled is None
        self.seen.append(inputs)
        volume = inputs[manifest.input.volume.tensor]
        labels = (volume > 0).astype(np.uint8)
        sent = manifest.input.labels
        if sent is not None:
            labels[(labels > 0) & (inputs[sent.tensor] > 0)] = 2
        return {manifest.output.labels.tensor: labels}


def make_volume(*, shear=(0.0, 0.0), places=None):
    affine = np.diag([0.7, 0.9, 2.5, 1.0])
    affine[:2, 2] = shear
    hu = np.full(SHAPE_KJI, -900, np.int16)
    hu[1:8, 4:19, 3:14] = 60
    sources = tuple(
        SourceFrame(sop_class_uid="1.2", sop_instance_uid=f"1.2.{k}", frame_number=None)
        for k in range(SHAPE_KJI[0])
    )
    return Volume(
        voxels_hu=hu,
        geometry=VolumeGeometry(shape_kji=SHAPE_KJI, affine_ijk_to_lps=affine, slice_places=places),
        sources=sources,
        frame_of_reference_uid=None,
    )


@pytest.mark.parametrize(
    "geometry",
    [
        pytest.param({}, id="even"),
        pytest.param({"shear": (0.0, 0.9)}, id="tilted"),  # one row a slice: nothing is mixed
        pytest.param({"places": PLACES}, id="uneven"),
    ],
)
def test_labels_of_a_model_lie_on_the_slices_of_the_source(geometry):
    volume, client = make_volume(**geometry), Threshold()

    first = label_volume(client, MANIFESTS["lung"], ModelGrids(volume), [])
    lungs = np.where(np.arange(SHAPE_KJI[2]) < 9, first, 0).astype(np.uint8)
    found = [
        Segmented(
            manifest=MANIFESTS["lung"],
            labels=lungs,
            segments=describe_segments(
                MANIFESTS["lung"],
                MANIFESTS["lung"].identity("fake"),
                labels=lungs,
                voxels_hu=volume.voxels_hu,
                voxel_volume_ml=volume.geometry.voxel_volume_ml,
            ),
        )
    ]
    second = label_volume(client, MANIFESTS["opacities"], ModelGrids(volume), found)

    np.testing.assert_array_equal(first, volume.voxels_hu > 0)
    np.testing.assert_array_equal(second, first + (lungs > 0))
    for inputs in client.seen:
        assert len({each.shape for each in inputs.values() if each.ndim == 3}) == 1


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)], ids=["the same", "others"])
def test_labels_are_sent_in_the_numbers_that_a_model_wants(numbers):
    volume, client = make_volume(), Threshold()
    lungs = (np.arange(SHAPE_KJI[2]) % 3 * np.ones(SHAPE_KJI)).astype(np.uint8)
    identity = MANIFESTS["lung"].identity("fake")
    segments = describe_segments(
        MANIFESTS["lung"],
        identity,
        labels=lungs,
        voxels_hu=volume.voxels_hu,
        voxel_volume_ml=1.0,
    )
    renumbered = tuple(
        replace(each, number=number) for each, number in zip(segments, numbers, strict=True)
    )
    found = [Segmented(manifest=MANIFESTS["lung"], labels=lungs, segments=renumbered)]

    label_volume(client, MANIFESTS["opacities"], ModelGrids(volume), found)

    (sent,) = [each["LABELS"] for each in client.seen]
    table = np.array([0, *np.argsort(numbers) + 1], np.uint8)
    np.testing.assert_array_equal(sent, table[lungs])
    assert np.shares_memory(sent, lungs) == (numbers == (1, 2)), "a copy only where one is needed"
