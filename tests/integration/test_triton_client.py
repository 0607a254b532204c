"""The client against a real tritonserver, and against one that answers with chosen statuses."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from dicomnode.errors import (
    InferenceError,
    InferenceInterrupted,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    ModelContractMismatch,
)
from dicomnode.inference import regions as regions_module
from dicomnode.inference.classify import classify
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.segment import segment
from dicomnode.inference.shared_memory import FOLDER, PREFIX

RAISE, DIE, STALL, SHORT, LARGE, UNKNOWN_LABEL = range(1, 7)

# Large enough that tensors go through shared memory; unequal on every axis.
SHAPE = (19, 230, 270)
SPACING_KJI_MM = (2.5, 0.9, 0.7)


def our_regions(pid: int | None = None) -> list[str]:
    return [path.name for path in FOLDER.glob(f"{PREFIX}{pid or os.getpid()}-*")]


def registered(client: TritonClient) -> list[str]:
    return list(client._client.get_system_shared_memory_status().regions)


def all_returned(client: TritonClient) -> bool:
    """Triton lets go of a region a moment after it answered; the next call returns it."""
    client._regions.unregister_held()
    return registered(client) == []


def wait_for(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        pause.wait(0.05)


@pytest.fixture(params=[True, False], ids=["shared memory", "messages"])
def either(request, triton_server: EmbeddedTriton) -> Iterator[TritonClient]:
    with TritonClient(
        triton_server.address, timeout_seconds=20, shared_memory=request.param
    ) as client:
        yield client


@pytest.fixture
def threshold(test_models: Path) -> Manifest:
    return load_manifest(test_models / "threshold" / "manifest.toml")


@pytest.fixture
def brightness(test_models: Path) -> Manifest:
    return load_manifest(test_models / "brightness" / "manifest.toml")


@pytest.fixture
def voxels_hu() -> np.ndarray:
    voxels = np.random.default_rng(5).integers(-1000, 500, SHAPE, dtype=np.int16)
    voxels.flags.writeable = False
    return voxels


def expected_labels(voxels_hu: np.ndarray) -> np.ndarray:
    labels = (voxels_hu < -500).astype(np.uint8)
    labels[:, :, SHAPE[2] // 2 :] *= 2
    return labels


def order(number: int, argument: int = 0) -> dict[str, np.ndarray]:
    volume = np.zeros(SHAPE, np.int16)
    volume.flat[:2] = number, argument
    return {"VOLUME_HU": volume}


LABELS = {"LABELS": (np.uint8, SHAPE)}


def test_a_volume_comes_back_labeled(
    either: TritonClient, threshold: Manifest, voxels_hu: np.ndarray
):
    labels = segment(either, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)

    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, expected_labels(voxels_hu))
    assert our_regions() == []
    wait_for(lambda: all_returned(either))


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


def test_what_several_models_see_is_put_into_memory_once_and_taken_back_at_the_end(
    triton: TritonClient, threshold: Manifest, voxels_hu: np.ndarray
):
    with triton.keeping_inputs() as keeping:
        first = segment(keeping, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)
        kept = our_regions()
        second = segment(keeping, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)
        kept_on = our_regions()

    np.testing.assert_array_equal(first, expected_labels(voxels_hu))
    np.testing.assert_array_equal(second, expected_labels(voxels_hu))
    assert len(kept) == 1
    assert kept_on == kept
    assert our_regions() == []
    wait_for(lambda: all_returned(triton))


def test_an_array_that_may_be_written_to_is_sent_as_it_is_now(
    triton: TritonClient, threshold: Manifest, voxels_hu: np.ndarray
):
    changing = voxels_hu.copy()

    with triton.keeping_inputs() as keeping:
        segment(keeping, threshold, voxels_hu=changing, spacing_kji_mm=SPACING_KJI_MM)
        changing[...] = changing[::-1].copy()
        labels = segment(keeping, threshold, voxels_hu=changing, spacing_kji_mm=SPACING_KJI_MM)

    np.testing.assert_array_equal(labels, expected_labels(voxels_hu[::-1]))


def test_a_server_that_forgot_what_is_kept_is_told_again(
    triton: TritonClient, threshold: Manifest, voxels_hu: np.ndarray
):
    with triton.keeping_inputs() as keeping:
        segment(keeping, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)
        # As a server does that was started anew.
        wait_for(lambda: triton._client.unregister_system_shared_memory() is None)
        labels = segment(keeping, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)

    np.testing.assert_array_equal(labels, expected_labels(voxels_hu))
    wait_for(lambda: all_returned(triton))


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
    wait_for(lambda: all_returned(either))


def test_a_model_that_is_too_slow_times_out_and_its_memory_is_returned_later(
    triton_server: EmbeddedTriton,
):
    with TritonClient(triton_server.address, timeout_seconds=0.3) as client:
        with pytest.raises(InferenceTimeout, match=r"'awkward' did not answer within 0\.3 s"):
            client.infer("awkward", order(STALL, 10), LABELS)
        assert our_regions() == []
        assert len(registered(client)) == 2, "Triton holds on to regions that a model uses"

        wait_for(lambda: all_returned(client))


def test_memory_that_a_closed_client_could_not_return_is_returned_by_the_next(
    triton_server: EmbeddedTriton,
):
    with (
        TritonClient(triton_server.address, timeout_seconds=0.3) as client,
        pytest.raises(InferenceTimeout),
    ):
        client.infer("awkward", order(STALL, 5), LABELS)

    with TritonClient(triton_server.address, timeout_seconds=5) as client:
        assert registered(client)

        def swept() -> bool:
            client.wait_ready([], deadline_seconds=5)
            return registered(client) == []

        wait_for(swept)


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

    assert triton.is_ready(["threshold"])
    assert not triton.is_ready(["threshold", "nowhere"])


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


def test_without_room_in_shared_memory_tensors_go_by_message(
    triton: TritonClient, threshold: Manifest, voxels_hu: np.ndarray, monkeypatch, capsys
):
    def full(_size_bytes: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(regions_module, "Region", full)

    for _ in range(2):
        labels = segment(triton, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)
        np.testing.assert_array_equal(labels, expected_labels(voxels_hu))

    assert capsys.readouterr().out.count("shared_memory_full") == 1


def test_memory_that_the_server_cannot_open_is_given_up_once(
    triton: TritonClient, threshold: Manifest, voxels_hu: np.ndarray, monkeypatch, capsys
):
    made = regions_module.Region

    class Elsewhere(made):
        """As if the server lived in another container."""

        def __init__(self, size_bytes: int) -> None:
            super().__init__(size_bytes)
            self.name += "-elsewhere"

    monkeypatch.setattr(regions_module, "Region", Elsewhere)

    for _ in range(2):
        labels = segment(triton, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)
        np.testing.assert_array_equal(labels, expected_labels(voxels_hu))

    assert capsys.readouterr().out.count("shared_memory_refused") == 1
    assert our_regions() == []


def test_what_a_killed_client_left_is_swept(triton_server: EmbeddedTriton):
    code = (
        "import os, sys\n"
        "from dicomnode.inference.client import TritonClient\n"
        "from contextlib import ExitStack\n"
        "client = TritonClient(sys.argv[1], timeout_seconds=5)\n"
        "regions = ExitStack()\n"
        "assert client._regions.lend(2 << 20, regions)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, triton_server.address])
    killed.wait(30)
    (left,) = our_regions(killed.pid)
    long_ago = time.time() - 3600
    os.utime(FOLDER / left, (long_ago, long_ago))
    with TritonClient(triton_server.address, timeout_seconds=5) as client:
        assert registered(client) == [f"/{left}"]

        client.wait_ready([], deadline_seconds=5)

        assert our_regions(killed.pid) == []
        assert registered(client) == []


def test_what_a_client_left_that_was_killed_in_a_call_is_swept_by_the_next_call(
    triton_server: EmbeddedTriton,
):
    code = (
        "import sys, numpy as np\n"
        "from dicomnode.inference.client import TritonClient\n"
        "volume = np.zeros((19, 230, 270), np.int16)\n"
        "volume.flat[:2] = int(sys.argv[2]), 20\n"
        "client = TritonClient(sys.argv[1], timeout_seconds=30)\n"
        "client.infer('awkward', {'VOLUME_HU': volume}, {'LABELS': (np.uint8, volume.shape)})\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", code, triton_server.address, str(STALL)])
    with TritonClient(triton_server.address, timeout_seconds=20) as client:
        wait_for(lambda: len(registered(client)) == 2)
        killed.kill()
        killed.wait(30)
        long_ago = time.time() - 3600
        for name in our_regions(killed.pid):
            os.utime(FOLDER / name, (long_ago, long_ago))

        client.infer("awkward", order(0), LABELS)

        assert our_regions(killed.pid) == []
        wait_for(lambda: all_returned(client))


class _Answering(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that is live and refuses every inference in one way."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        self.code = code
        self.text = text

    def ServerLive(self, _request, _context):  # noqa: N802  Triton's protocol has the name
        return service_pb2.ServerLiveResponse(live=True)

    def ModelInfer(self, _request, context):  # noqa: N802  Triton's protocol has the name
        context.abort(self.code, self.text)


@contextmanager
def answering(code: grpc.StatusCode, text: str) -> Iterator[TritonClient]:
    server = grpc.server(ThreadPoolExecutor(1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Answering(code, text), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with TritonClient(f"127.0.0.1:{port}", timeout_seconds=5) as client:
            client.wait_ready([], deadline_seconds=5)
            yield client
    finally:
        server.stop(grace=None).wait()


def test_of_calls_that_are_cut_off_together_one_is_blamed():
    text = "Stub process 'lung_0_0' is not healthy."
    errors = []
    with answering(grpc.StatusCode.INTERNAL, text) as client:
        for _ in range(3):
            with pytest.raises(InferenceUnavailable, match="not healthy") as caught:
                client.infer("lung", {"A": np.zeros(2, np.int16)}, {"B": (np.uint8, None)})
            errors.append(type(caught.value))

    assert errors == [InferenceInterrupted, InferenceUnavailable, InferenceUnavailable]


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, "queue is full", InferenceUnavailable),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", InferenceInterrupted),
        (grpc.StatusCode.NOT_FOUND, "unknown model", InferenceUnavailable),
        (grpc.StatusCode.CANCELLED, "shutting down", InferenceUnavailable),
        (grpc.StatusCode.ABORTED, "shutting down", InferenceUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls", InferenceUnavailable),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (9 vs. 4)",
            InferenceRejected,
        ),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "too late", InferenceTimeout),
        (grpc.StatusCode.INVALID_ARGUMENT, "bad shape", InferenceRejected),
        (grpc.StatusCode.INTERNAL, "the model raised", InferenceRejected),
        (
            grpc.StatusCode.INTERNAL,
            "Stub process 'lung_0_0' is not healthy.",
            InferenceInterrupted,
        ),
        (grpc.StatusCode.UNIMPLEMENTED, "no such call", InferenceRejected),
        (grpc.StatusCode.UNAUTHENTICATED, "who?", InferenceRejected),
        (grpc.StatusCode.PERMISSION_DENIED, "not you", InferenceRejected),
        (grpc.StatusCode.DATA_LOSS, "oh", InferenceRejected),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_statuses_become_errors_that_say_whether_to_try_again(
    code: grpc.StatusCode, text: str, error: type[InferenceError]
):
    with answering(code, text) as client, pytest.raises(error) as caught:
        client.infer("lung", {"A": np.zeros((2, 3), np.int16)}, {"B": (np.uint8, None)})

    assert type(caught.value) is error
