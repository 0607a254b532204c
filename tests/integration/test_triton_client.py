"""The client against a real tritonserver: what it asks, what comes back, what it waits for."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dicomnode.errors import (
    InferenceError,
    InferenceRejected,
    InferenceUnavailable,
    ModelContractMismatch,
)
from dicomnode.inference.classify import classify
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.segment import segment
from tests.support.small_models import (
    LABELS,
    LARGE,
    RAISE,
    SHAPE,
    SHORT,
    SPACING_KJI_MM,
    UNKNOWN_LABEL,
    expected_labels,
    make_voxels,
    order,
    our_regions,
    wait_until_returned,
)


@pytest.fixture(params=[True, False], ids=["shared memory", "messages"])
def either(request, triton_server: EmbeddedTriton) -> Iterator[TritonClient]:
    with TritonClient(
        triton_server.address, timeout_seconds=20, shared_memory=request.param
    ) as client:
        yield client


@pytest.fixture
def brightness(test_models: Path) -> Manifest:
    return load_manifest(test_models / "brightness" / "manifest.toml")


@pytest.fixture
def voxels_hu() -> np.ndarray:
    return make_voxels()


def test_a_volume_comes_back_labeled(
    either: TritonClient, threshold: Manifest, voxels_hu: np.ndarray
):
    labels = segment(either, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)

    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected_labels(voxels_hu))
    assert our_regions() == []
    wait_until_returned(either)


def test_a_volume_that_is_a_view_is_sent_as_it_looks(
    either: TritonClient, threshold: Manifest, voxels_hu: np.ndarray
):
    turned = voxels_hu[::-1, :, ::-1]

    labels = segment(either, threshold, voxels_hu=turned, spacing_kji_mm=SPACING_KJI_MM)

    np.testing.assert_array_equal(labels, expected_labels(turned))


def test_concurrent_calls_do_not_mix_their_tensors(either: TritonClient, threshold: Manifest):
    volumes = [np.full(SHAPE, value, np.int16) for value in (-900, 100, -800, 200, -700, 300)]
    with ThreadPoolExecutor(6) as pool:
        answers = pool.map(
            lambda voxels: segment(
                either, threshold, voxels_hu=voxels, spacing_kji_mm=SPACING_KJI_MM
            ),
            volumes,
        )

    for voxels, labels in zip(volumes, answers, strict=True):
        np.testing.assert_array_equal(labels, expected_labels(voxels))


def test_a_classification_follows_from_score_and_grade(
    either: TritonClient, brightness: Manifest, voxels_hu: np.ndarray
):
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:5, 10:30, 40:80] = 1
    inside = voxels_hu[2:5, 10:30, 40:80]

    found = classify(
        either, brightness, voxels_hu=voxels_hu, labels=labels, spacing_kji_mm=SPACING_KJI_MM
    )

    share = 100 * np.count_nonzero(inside > 0) / inside.size
    assert found.scores == (("Brightness", pytest.approx(share, abs=1e-4)),)
    assert found.answer.value == "dark"
    assert found.measurements[0].value == pytest.approx(inside.size * 2.5 * 0.9 * 0.7 / 1000)
    assert found.measurements[0].unit.value == "mL"
    assert found.model.server == "triton 2.51.0"
    assert found.model.manifest_digest == brightness.digest


def test_a_score_that_is_no_number_is_refused(
    triton: TritonClient, brightness: Manifest, voxels_hu: np.ndarray
):
    nothing = np.zeros(SHAPE, np.uint8)

    with pytest.raises(ModelContractMismatch, match="finite"):
        classify(
            triton, brightness, voxels_hu=voxels_hu, labels=nothing, spacing_kji_mm=SPACING_KJI_MM
        )


def test_labels_that_the_manifest_lacks_are_refused(triton: TritonClient, threshold: Manifest):
    awkward = threshold.model_copy(
        update={
            "triton": threshold.triton.model_copy(update={"model": "awkward"}),
            "input": threshold.input.model_copy(update={"spacing": None}),
        }
    )

    with pytest.raises(ModelContractMismatch, match="labels 0 to 2, found 9"):
        segment(
            triton,
            awkward,
            voxels_hu=order(UNKNOWN_LABEL)["VOLUME_HU"],
            spacing_kji_mm=SPACING_KJI_MM,
        )


@pytest.mark.parametrize(
    ("number", "error", "text"),
    [
        (RAISE, InferenceRejected, "told to raise"),
        (SHORT, ModelContractMismatch, r"wanted output LABELS UINT8\[19, .*found UINT8\[18, "),
        (LARGE, ModelContractMismatch, "LABELS"),
    ],
    ids=["the model raises", "too few slices", "too many slices"],
)
def test_an_answer_that_cannot_be_used_is_named_and_leaves_no_memory(
    either: TritonClient, number: int, error: type[InferenceError], text: str
):
    with pytest.raises(error, match=text):
        either.infer("awkward", order(number), LABELS)

    assert our_regions() == []
    wait_until_returned(either)


def test_a_missing_model_is_unavailable(triton: TritonClient):
    with pytest.raises(InferenceUnavailable, match="nowhere"):
        triton.infer("nowhere", order(0), LABELS)


def test_a_closed_client_is_unavailable(triton: TritonClient):
    triton.close()

    with pytest.raises(InferenceUnavailable, match="closed"):
        triton.infer("awkward", order(0), LABELS)


def test_waiting_names_what_is_missing(triton: TritonClient):
    with pytest.raises(InferenceUnavailable, match=r"nowhere \(not in its repository\)"):
        triton.wait_ready(["threshold", "nowhere"], deadline_seconds=0.2)

    assert triton.missing(["threshold"]) == ""
    assert triton.missing(["threshold", "nowhere"])


def test_waiting_for_nobody_ends_at_its_deadline():
    with (
        TritonClient("127.0.0.1:9", timeout_seconds=1) as client,
        pytest.raises(InferenceUnavailable, match=r"127\.0\.0\.1:9"),
    ):
        client.wait_ready([], deadline_seconds=0.3)


def test_waiting_ends_on_stop():
    stop = threading.Event()
    stop.set()
    with (
        TritonClient("127.0.0.1:9", timeout_seconds=1) as client,
        pytest.raises(InferenceUnavailable, match="stopped waiting"),
    ):
        client.wait_ready([], deadline_seconds=60, stop=stop)


def test_manifest_and_model_agree(triton: TritonClient, threshold: Manifest, brightness: Manifest):
    triton.check_contract(threshold)
    triton.check_contract(brightness)


def test_every_difference_between_manifest_and_model_is_told(
    triton: TritonClient, threshold: Manifest
):
    wrong = threshold.model_copy(
        update={
            "input": threshold.input.model_copy(
                update={
                    "spacing": None,
                    "volume": threshold.input.volume.model_copy(update={"dtype": "FP32"}),
                }
            ),
            "output": threshold.output.model_copy(
                update={"labels": threshold.output.labels.model_copy(update={"tensor": "MASK"})}
            ),
        }
    )

    with pytest.raises(ModelContractMismatch) as caught:
        triton.check_contract(wrong)

    text = str(caught.value)
    assert "input VOLUME_HU: wanted FP32[-1, -1, -1], found INT16[-1, -1, -1]" in text
    assert "input SPACING_MM: the model needs FP32[3]" in text
    assert "output MASK: wanted UINT8[-1, -1, -1], found no such output (has LABELS)" in text
