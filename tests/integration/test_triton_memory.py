"""Tensors in the memory that client and tritonserver share: placed once, and always taken back."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from dicomnode.errors import InferenceTimeout
from dicomnode.inference import regions as regions_module
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.segment import segment
from dicomnode.inference.shared_memory import FOLDER
from tests.support.node import wait_until
from tests.support.small_models import (
    LABELS,
    SPACING_KJI_MM,
    STALL,
    expected_labels,
    make_voxels,
    order,
    our_regions,
    registered,
    wait_until_returned,
)


@pytest.fixture
def voxels_hu() -> np.ndarray:
    return make_voxels()


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
    wait_until_returned(triton)


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
        wait_until(
            lambda: triton._client.unregister_system_shared_memory() is None,
            30,
            "the server forgot its regions",
        )
        labels = segment(keeping, threshold, voxels_hu=voxels_hu, spacing_kji_mm=SPACING_KJI_MM)

    np.testing.assert_array_equal(labels, expected_labels(voxels_hu))
    wait_until_returned(triton)


def test_a_model_that_is_too_slow_times_out_and_its_memory_is_returned_later(
    triton_server: EmbeddedTriton,
):
    with TritonClient(triton_server.address, timeout_seconds=0.3) as client:
        with pytest.raises(InferenceTimeout, match=r"'awkward' did not answer within 0\.3 s"):
            client.infer("awkward", order(STALL, 10), LABELS)
        assert our_regions() == []
        assert len(registered(client)) == 2, "Triton holds on to regions that a model uses"

        wait_until_returned(client)


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

        wait_until(swept, 30, "what was left was swept")


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
        wait_until(lambda: len(registered(client)) == 2, 30, "the call had its memory")
        killed.kill()
        killed.wait(30)
        long_ago = time.time() - 3600
        for name in our_regions(killed.pid):
            os.utime(FOLDER / name, (long_ago, long_ago))

        client.infer("awkward", order(0), LABELS)

        assert our_regions(killed.pid) == []
        wait_until_returned(client)
