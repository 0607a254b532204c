"""The shipped manifests of published models, against stand-ins with their shapes in Triton.

What is expected is computed here, in numpy, from the definitions: no code of the node's is used for
orientation, crop, resampling, area averaging or class order.
"""

from pathlib import Path

import numpy as np
import pytest

from dicomnode.config import Config
from dicomnode.errors import ModelContractMismatch
from dicomnode.imaging.grid import ModelGrids
from dicomnode.inference.client import TritonClient
from dicomnode.inference.manifest import CONTRACTS, find_manifests
from dicomnode.inference.measure import describe_segments
from dicomnode.inference.ratios import Segmented
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry
from dicomnode.pipeline.analysis import Stopwatch, infer
from dicomnode.pipeline.asking import classify_volume, label_volume
from dicomnode.pipeline.setup import build_setups
from dicomnode.spool.workspace import Workspace

MANIFESTS = find_manifests([CONTRACTS])

# Source spacing and the network's, X, Y, Z.
SPACING, NETWORK = (1.5, 1.6, 3.0), (0.8, 0.8, 5.0)


@pytest.fixture
def client(stand_ins: TritonClient) -> TritonClient:
    return stand_ins


def lungs_lps(shape=(37, 150, 170)) -> np.ndarray:
    """Two lungs of different size, a lesion in the left one, noise; axes S, P, L."""
    hu = np.full(shape, 40, np.int16)
    hu[5:33, 30:120, 20:70] = -820
    hu[8:30, 40:118, 95:150] = -780
    hu[14:21, 60:85, 110:130] = -300
    noise = np.random.default_rng(11).integers(-15, 16, shape)
    return (hu + noise).astype(np.int16)


def volume_of(hu_lps: np.ndarray, *, turned: bool) -> Volume:
    """A series whose rows run to the right and columns to the front, if turned (prone)."""
    x, y, z = SPACING
    voxels = hu_lps[:, ::-1, ::-1].copy() if turned else hu_lps.copy()
    affine = np.diag([-x if turned else x, -y if turned else y, z, 1.0])
    affine[:3, 3] = (31.0, -17.0, 250.0)
    sources = tuple(
        SourceFrame(
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid=f"2.25.{k + 1}",
            frame_number=None,
        )
        for k in range(len(voxels))
    )
    return Volume(
        voxels_hu=voxels,
        geometry=VolumeGeometry(shape_kji=voxels.shape, affine_ijk_to_lps=affine),
        sources=sources,
        frame_of_reference_uid=None,
    )


def interpolated(array: np.ndarray, positions: list[np.ndarray]) -> np.ndarray:
    """Read linearly at positions along each axis; beyond the ends the last value goes on."""
    for axis, wanted in enumerate(positions):
        at = np.clip(wanted, 0, array.shape[axis] - 1)
        low = np.minimum(at.astype(int), max(array.shape[axis] - 2, 0))
        weight = (at - low).reshape([-1 if each == axis else 1 for each in range(3)])
        high = np.minimum(low + 1, array.shape[axis] - 1)
        array = array.take(low, axis) * (1 - weight) + array.take(high, axis) * weight
    return array


def lead_of_class_1(hu_lps: np.ndarray, clip, edge: float, sign: int) -> np.ndarray:
    """Probability of class 1 less that of class 0, on the source grid."""
    ratios = [n / s for n, s in zip(NETWORK[::-1], SPACING[::-1], strict=True)]
    lengths = [round((n - 1) / ratio) + 1 for n, ratio in zip(hu_lps.shape, ratios, strict=True)]
    there = [np.arange(n) * ratio for n, ratio in zip(lengths, ratios, strict=True)]
    values = interpolated(hu_lps.astype(np.float64), there)
    values = (np.clip(values, *clip) - clip[0]) / (clip[1] - clip[0])
    lead = np.tanh(sign * 20 * (edge - values) / 2)
    back = [np.arange(n) / ratio for n, ratio in zip(hu_lps.shape, ratios, strict=True)]
    return interpolated(lead, back)


def area_averaged(array: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Adaptive average pooling as PyTorch defines it, by cumulative sums in double precision."""
    for axis, count in enumerate(size):
        length = array.shape[axis]
        first = [int(np.floor(i * length / count)) for i in range(count)]
        last = [int(np.ceil((i + 1) * length / count)) for i in range(count)]
        sums = np.concatenate([np.zeros_like(array.take([0], axis)), np.cumsum(array, axis)], axis)
        widths = np.subtract(last, first).reshape([-1 if a == axis else 1 for a in range(3)])
        array = (sums.take(last, axis) - sums.take(first, axis)) / widths
    return array


def expected_score(hu_lps: np.ndarray, mask_lps: np.ndarray) -> float:
    """What the COVID stand-in says of the lungs' box, five voxels wider, in X, Y, Z."""
    where = np.argwhere(mask_lps)
    low = np.maximum(where.min(0) - 5, 0)
    high = np.minimum(where.max(0) + 6, hu_lps.shape)
    part = hu_lps[low[0] : high[0], low[1] : high[1], low[2] : high[2]].astype(np.float64)
    scaled = (np.clip(part, -1000, 500) + 1000) / 1500
    seen = area_averaged(scaled.transpose(2, 1, 0), (192, 192, 64))
    x, y, z = np.arange(192) / 191, np.arange(192) / 191, np.arange(64) / 63
    logit = 40 * np.einsum("xyz,x,y,z", seen, x**2, y, z**3) / seen.size - 0.4
    return float(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_the_stand_in_keeps_the_contract_and_names_its_tensors(client: TritonClient, name: str):
    resolved = client.check_contract(MANIFESTS[name])

    source = resolved.input.volume or resolved.input.nifti
    assert source.tensor


@pytest.mark.parametrize("turned", [False, True], ids=["supine", "prone"])
@pytest.mark.parametrize(
    ("name", "clip", "edge", "sign"),
    [
        ("clara-lung", (-1500, 500), 0.5, 1),
        ("clara-lung-pt", (-1500, 500), 0.5, 1),
        ("clara-lesion-pt", (-1000, 500), 0.6, -1),
    ],
)
def test_segmentation_is_that_of_an_independent_computation(
    client: TritonClient, name: str, clip, edge: float, sign: int, turned: bool
):
    hu = lungs_lps()

    labels = label_volume(client, MANIFESTS[name], ModelGrids(volume_of(hu, turned=turned)), [])

    lead = lead_of_class_1(hu, clip, edge, sign)
    found = labels[:, ::-1, ::-1] if turned else labels
    sure = np.abs(lead) > 1e-4
    assert 0.05 < (lead > 0).mean() < 0.95
    np.testing.assert_array_equal(found[sure], lead[sure] > 0)
    assert sure.mean() > 0.999


def found_lungs(volume: Volume, mask: np.ndarray) -> Segmented:
    manifest = MANIFESTS["clara-lung"]
    segments = describe_segments(
        manifest,
        manifest.identity("triton"),
        labels=mask.astype(np.uint8),
        voxels_hu=volume.voxels_hu,
        voxel_volume_ml=1.0,
    )
    return Segmented(manifest=manifest, labels=mask.astype(np.uint8), segments=segments)


@pytest.mark.parametrize("turned", [False, True], ids=["supine", "prone"])
@pytest.mark.parametrize("name", ["clara-covid", "clara-covid-pt"])
def test_classification_is_that_of_an_independent_computation(
    client: TritonClient, name: str, turned: bool
):
    hu = lungs_lps()
    mask = np.zeros(hu.shape, bool)
    # Near three faces, so that the margin is cut off there and only there.
    mask[2:33, 30:120, 3:148] = True
    mask[30:36, 60:70, 60:90] = True
    volume = volume_of(hu, turned=turned)
    seen = mask[:, ::-1, ::-1] if turned else mask

    found = classify_volume(
        client, MANIFESTS[name], ModelGrids(volume), [found_lungs(volume, seen)]
    )

    score = expected_score(hu, mask)
    assert 0.55 < score < 0.95
    assert found.answer.value == "covid-positive"
    assert found.scores[-1][1] == pytest.approx(score, abs=2e-5)
    assert sum(value for _, value in found.scores) == pytest.approx(
        1 if len(found.scores) == 2 else score, abs=2e-5
    )


def test_another_orientation_gives_another_score(client: TritonClient):
    """Can the test above fail: the stand-in does tell left from right."""
    volume = volume_of(lungs_lps(), turned=False)
    lungs = found_lungs(volume, volume.voxels_hu < -500)
    manifest = MANIFESTS["clara-covid"]
    wrong = manifest.model_copy(
        update={"input": manifest.input.model_copy(update={"orientation": "RPS"})}
    )

    scores = [
        classify_volume(client, each, ModelGrids(volume), [lungs]).scores[1][1]
        for each in (manifest, wrong)
    ]

    assert abs(scores[0] - scores[1]) > 0.01


def test_without_lungs_there_is_nothing_to_classify(client: TritonClient):
    volume = volume_of(lungs_lps(), turned=False)
    lungs = found_lungs(volume, np.zeros(volume.voxels_hu.shape, bool))

    assert classify_volume(client, MANIFESTS["clara-covid"], ModelGrids(volume), [lungs]) is None


@pytest.mark.parametrize(("value", "answer"), [(100, "covid-positive"), (-100, "covid-negative")])
def test_a_nifti_model_reads_the_volume_in_the_order_x_y_z(
    client: TritonClient, value: int, answer: str
):
    hu = np.full((7, 9, 11), -value, np.int16)
    hu[3, 2, 1] = value

    found = classify_volume(
        client, MANIFESTS["monai-covid"], ModelGrids(volume_of(hu, turned=False)), []
    )

    assert found.answer.value == answer
    assert found.scores == ()


def test_a_model_with_three_classes_is_refused_by_the_contract(client: TritonClient):
    manifest = MANIFESTS["clara-covid"]
    classification = manifest.classification
    classes = (*classification.classes, classification.classes[0])
    three = manifest.model_copy(
        update={"classification": classification.model_copy(update={"classes": classes})}
    )

    with pytest.raises(ModelContractMismatch, match=r"wanted FP32\[1, 3\], found FP32\[1, 2\]"):
        client.check_contract(three)


def test_a_whole_pipeline_of_brought_models(client: TritonClient, tmp_path: Path):
    config = Config(
        pipelines={
            "covid": {
                "ae_title": "COVIDCT",
                "segment": ["clara-lung-pt", "clara-lesion-pt"],
                "classify": ["clara-covid-pt", "monai-covid"],
                "destinations": ["out"],
            }
        },
        destinations={"out": {"kind": "folder", "path": str(tmp_path / "out")}},
    )
    hu = lungs_lps()
    volume = volume_of(hu, turned=False)
    workspace = Workspace(tmp_path / "work")
    workspace.save_volume(volume, [])

    found = infer(workspace, build_setups(config)["covid"], client, Stopwatch("covid"))

    lungs, lesion = found.segments
    assert (lungs.number, lungs.label) == (1, "Lungs")
    assert (lesion.number, lesion.label) == (2, "Lesion")
    assert lesion.anatomic_region.value == "39607008"
    ratio = next(m for m in lesion.measurements if m.name.value == "lesion-to-lung")
    assert ratio.value == pytest.approx(100 * lesion.volume_ml / lungs.volume_ml)
    is_lung = found.label_map.values_of(1)[found.label_map.labels]
    is_lesion = found.label_map.values_of(2)[found.label_map.labels]
    np.testing.assert_array_equal(is_lesion, lead_of_class_1(hu, (-1000, 500), 0.6, -1) > 0)
    assert lungs.volume_ml == pytest.approx(is_lung.sum() * np.prod(SPACING) / 1000)
    assert found.models[0].name == "clara_pt_covid19_ct_lung_segmentation"
    assert all(each.asked_at for each in found.models)
    assert len(found.classifications) == 2
    again = workspace.load_findings(volume.geometry)
    assert again.label_map.overlaps == found.label_map.overlaps
    assert again.models == found.models
