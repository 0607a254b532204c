"""The shipped models inside a real tritonserver: as their manifests say, and as when called."""

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from dicomnode.demo.phantom import chest_ct
from dicomnode.errors import InferenceRejected
from dicomnode.inference.client import TritonClient
from dicomnode.inference.manifest import SHIPPED_MODELS, find_manifests
from tests.support.quick_triton import QuickTriton

MANIFESTS = find_manifests([SHIPPED_MODELS])
SPACING = np.array([4.0, 2.0, 1.8], np.float32)

for name in ("lung_segmentation", "opacity_burden"):
    sys.path.append(str(SHIPPED_MODELS / name / "1"))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonClient]:
    server = QuickTriton(
        repositories=[SHIPPED_MODELS], run_dir=tmp_path_factory.mktemp("models"), startup_seconds=60
    )
    with server, TritonClient(server.address, timeout_seconds=60) as client:
        client.wait_ready([each.triton.model for each in MANIFESTS.values()], deadline_seconds=60)
        yield client


@pytest.fixture(scope="module")
def hu():
    volume, _ = chest_ct(slices=80, rows=180, columns=200, spacing_kji_mm=SPACING.tolist())
    return volume


def ask_lungs(client, hu, spacing=SPACING):
    inputs = {"VOLUME_HU": hu, "SPACING_MM": spacing}
    return client.infer(MANIFESTS["lung"], inputs, {"LABELS": (np.uint8, hu.shape)})["LABELS"]


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_the_server_keeps_the_manifests_contract(shipped, name):
    shipped.check_contract(MANIFESTS[name])


def test_the_server_answers_what_the_functions_do(shipped, hu):
    from burden import opacity_burden
    from lungs import segment_lungs

    labels = ask_lungs(shipped, hu)
    opacity = shipped.infer(
        MANIFESTS["opacity"],
        {"VOLUME_HU": hu, "SPACING_MM": SPACING, "LABELS": labels},
        {"SCORES": (np.float32, (1,)), "MEASUREMENTS": (np.float32, (5,))},
    )

    burden = opacity_burden(hu, SPACING.tolist(), labels)
    assert np.array_equal(segment_lungs(hu, SPACING.tolist()), labels)
    assert opacity["SCORES"] == np.float32(burden.both)
    assert np.array_equal(np.array(burden.as_tuple(), np.float32), opacity["MEASUREMENTS"])


def test_a_volume_without_lungs_is_no_error(shipped):
    assert not ask_lungs(shipped, np.full((1, 3, 2), -1000, np.int16)).any()


def test_nothing_of_a_request_is_left_in_the_next(shipped, hu):
    from burden import opacity_map

    labels = ask_lungs(shipped, hu)
    below, above = slice(0, 40), slice(40, 80)
    maps = []
    for part in (above, below):
        inputs = {"VOLUME_HU": hu[part], "SPACING_MM": SPACING, "LABELS": labels[part]}
        outputs = {"OPACITIES": (np.uint8, hu[part].shape)}
        maps.append(shipped.infer(MANIFESTS["opacities"], inputs, outputs)["OPACITIES"])

    assert not ask_lungs(shipped, np.full(hu[below].shape, -1000, np.int16)).any()
    assert np.array_equal(ask_lungs(shipped, hu), labels)
    for found, part in zip(maps, (above, below), strict=True):
        assert np.array_equal(found, opacity_map(hu[part], SPACING.tolist(), labels[part]))


def test_a_wrong_spacing_is_refused_in_words(shipped):
    volume = np.zeros((3, 40, 50), np.int16)

    with pytest.raises(InferenceRejected, match="three spacings above 0 mm"):
        ask_lungs(shipped, volume, np.zeros(3, np.float32))
