"""What the node makes of an inference server that is absent, slow, dying, wrong or out of memory.

docs/models.md has the same as a table.  The faults of one whole call stand in test_triton_client
and test_triton_statuses, those of the embedded server's process in test_embedded_triton.
"""

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest

from dicomnode.errors import (
    InferenceCancelled,
    InferenceError,
    InferenceInterrupted,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    ModelContractMismatch,
)
from dicomnode.inference.channel import Credentials
from dicomnode.inference.client import TritonClient
from dicomnode.inference.intensity import scale
from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.network import ask_maps
from dicomnode.inference.schema.manifest import Manifest
from tests.support.scripted_triton import ANSWER, NAN, SHORT, STALL, Script, serving

UNAVAILABLE = (grpc.StatusCode.UNAVAILABLE, "queue is full")
EXHAUSTED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
UNLOADED = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'net' is not found")
NO_MEMORY = (grpc.StatusCode.INTERNAL, "CUDA out of memory. Tried to allocate 2.00 GiB")
RAISED = (grpc.StatusCode.INTERNAL, "the model raised")

MANIFEST = """
schema_version = 1
name = "net"
task = "segment"
[triton]
model = "net"
max_in_flight = 3
[algorithm]
name = "Net"
version = "1"
manufacturer = "dicomnode tests"
family = { value = "123109", scheme = "DCM", meaning = "Manual Processing" }
license = "Apache-2.0"
intended_use = "Tests."
[input]
orientation = "LPS"
volume = { dtype = "FP32", layout = "NCDHW" }
[input.windows]
size = [ 8, 6, 4 ]
overlap = 0.5
per_call = 2
[output.probabilities]
dtype = "FP32"
activation = "none"
layout = "NCDHW"
channels = [ 0, 1 ]
[[segments]]
number = 1
label = "Bright"
category = { value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }
type = { value = "39607008", scheme = "SCT", meaning = "Lung" }
color_rgb = [ 1, 2, 3 ]
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    path = tmp_path / "manifest.toml"
    path.write_text(MANIFEST)
    return load_manifest(path)


@pytest.fixture
def volume() -> np.ndarray:
    # Longer than a window along two axes, shorter along one: padded there.
    return np.random.default_rng(2).random((3, 13, 17), np.float32)


def ask(address: str, manifest: Manifest, volume: np.ndarray, *, seconds: float = 5, **named):
    with TritonClient(address, timeout_seconds=seconds) as client:
        return ask_maps(client, manifest, volume, **named)


def test_windows_are_asked_several_at_a_time_and_blended(manifest: Manifest, volume: np.ndarray):
    script = Script(gather=3)
    with serving(script) as address:
        maps = ask(address, manifest, volume)

    np.testing.assert_allclose(maps[1], volume, rtol=1e-5)
    np.testing.assert_allclose(maps[0], 1 - volume, rtol=1e-5, atol=1e-6)
    assert script.most_inside == 3


@pytest.mark.parametrize(("dtype", "off"), [("FP16", 1e-3), ("UINT8", 0.5 / 255 + 1e-6)])
def test_half_precision_and_bytes_carry_the_same(
    tmp_path: Path, volume: np.ndarray, dtype: str, off: float
):
    path = tmp_path / "manifest.toml"
    text = MANIFEST.replace('"FP32"', f'"{dtype}"')
    if dtype == "UINT8":
        # What is sent runs from 0 to 255 as well.
        text = text.replace(
            "[input.windows]", "[input.intensity]\nfrom_hu = [0, 1]\nto = [0, 255]\n[input.windows]"
        )
    path.write_text(text)
    manifest = load_manifest(path)
    script = Script(dtype=dtype)
    with serving(script) as address, TritonClient(address, timeout_seconds=5) as client:
        assert client.check_contract(manifest).input.volume.tensor == "IN"
        maps = ask_maps(client, manifest, scale(volume.copy(), manifest.input.intensity))

    np.testing.assert_allclose(maps[1], volume, atol=off)


def test_no_more_are_in_flight_than_the_manifest_allows_all_jobs_together(
    manifest: Manifest, volume: np.ndarray
):
    script = Script(gather=3)
    with (
        serving(script) as address,
        TritonClient(address, timeout_seconds=10) as client,
        ThreadPoolExecutor(4) as jobs,
    ):
        asked = [jobs.submit(ask_maps, client, manifest, volume) for _ in range(4)]
        for each in asked:
            np.testing.assert_allclose(each.result()[1], volume, rtol=1e-5)

    assert script.most_inside == 3


@pytest.mark.parametrize(
    "acts",
    [(UNAVAILABLE,), (EXHAUSTED, EXHAUSTED), (NO_MEMORY,)],
    ids=["unavailable", "exhausted twice", "out of memory once"],
)
def test_what_passes_within_moments_is_asked_again(manifest: Manifest, volume: np.ndarray, acts):
    script = Script(acts=acts)
    one = manifest.model_copy(
        update={"triton": manifest.triton.model_copy(update={"max_in_flight": 1})}
    )
    with serving(script) as address:
        maps = ask(address, one, volume)

    np.testing.assert_allclose(maps[1], volume, rtol=1e-5)


@pytest.mark.parametrize(
    ("acts", "error", "text", "calls"),
    [
        ((UNAVAILABLE,) * 3, InferenceUnavailable, "queue is full", 3),
        ((EXHAUSTED,) * 3, InferenceUnavailable, "too many calls", 3),
        ((NO_MEMORY,) * 3, InferenceRejected, "out of memory", 3),
        ((RAISED,), InferenceRejected, "the model raised", 1),
        ((UNLOADED,), InferenceUnavailable, "unknown model", 1),
        ((NAN,), ModelContractMismatch, "finite probabilities", 1),
        ((SHORT,), ModelContractMismatch, r"wanted output OUT FP32\[2, 2, 4, 6, 8\], found", 1),
        ((ANSWER, ANSWER, NAN), ModelContractMismatch, "finite probabilities", 3),
    ],
    ids=[
        *("unavailable for long", "exhausted for long", "out of memory for good"),
        *("the model raises", "unloaded in between", "NaN", "wrong shape", "NaN in a late window"),
    ],
)
def test_a_fault_of_one_window_is_the_fault_of_all(
    manifest: Manifest, volume: np.ndarray, acts, error: type[InferenceError], text: str, calls: int
):
    script = Script(acts=acts)
    one = manifest.model_copy(
        update={"triton": manifest.triton.model_copy(update={"max_in_flight": 1})}
    )
    with serving(script) as address, pytest.raises(error, match=text) as caught:
        ask(address, one, volume)

    assert type(caught.value) is error
    # After that no window was asked, one apart that was on its way.
    assert script.calls <= calls + 1


def test_an_absent_server_is_unavailable_at_once(manifest: Manifest, volume: np.ndarray):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"

        with pytest.raises(InferenceUnavailable) as caught:
            ask(address, manifest, volume)

    assert caught.value.retryable
    assert address in str(caught.value)


def test_a_slow_server_is_left_at_the_deadline_and_told(manifest: Manifest, volume: np.ndarray):
    script = Script(acts=(STALL,))
    with serving(script) as address:
        with pytest.raises(InferenceTimeout, match=r"'net' did not answer within 0\.5 s") as caught:
            ask(address, manifest, volume, seconds=0.5)

        assert script.cancelled.wait(5)
    assert caught.value.retryable


def test_giving_up_reaches_the_server(manifest: Manifest, volume: np.ndarray):
    script = Script(acts=(STALL,) * 3)
    with serving(script) as address:
        with pytest.raises(InferenceCancelled):
            ask(address, manifest, volume, seconds=30, cancelled=script.reached.is_set)

        assert script.cancelled.wait(5)


def test_a_server_that_dies_in_a_call_is_told_from_one_that_is_away(
    manifest: Manifest, volume: np.ndarray
):
    """The connection ends under the call, as when the process is killed."""
    code = (
        "import sys\n"
        "from tests.support.scripted_triton import STALL, Script, serving\n"
        "script = Script(acts=(STALL,) * 9)\n"
        "with serving(script) as address:\n"
        "    print(address, flush=True)\n"
        "    script.reached.wait(30)\n"
        "    print('reached', flush=True)\n"
        "    sys.stdin.read()\n"
    )
    server = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
    )
    with server, ThreadPoolExecutor(1) as pool:
        address = server.stdout.readline().strip()
        asked = pool.submit(ask, address, manifest, volume, seconds=30)
        assert server.stdout.readline().strip() == "reached"
        server.send_signal(signal.SIGKILL)

        error = asked.exception(timeout=20)

    assert isinstance(error, InferenceInterrupted)
    assert error.retryable


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "token").write_text("first\n")
    return folder


def test_tls_and_a_token_that_may_change(certificates: Path):
    key, certificate = (certificates / name for name in ("key.pem", "cert.pem"))
    server = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    ours = Credentials(tls=True, ca_file=certificate, token_file=certificates / "token")
    script = Script()
    with (
        serving(script, credentials=server) as address,
        TritonClient(address, timeout_seconds=5, credentials=ours) as client,
    ):
        assert client.missing() == ""
        (certificates / "token").write_text("second\n")
        assert client.missing() == ""

    assert script.tokens == ["Bearer first", "Bearer second"]


def test_a_server_with_another_certificate_is_not_trusted(certificates: Path):
    key, certificate = (certificates / name for name in ("key.pem", "cert.pem"))
    server = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with (
        serving(Script(), credentials=server) as address,
        TritonClient(address, timeout_seconds=5, credentials=Credentials(tls=True)) as client,
    ):
        assert client.missing()


def test_credentials_that_cannot_be_read_are_named(tmp_path: Path):
    with pytest.raises(InferenceUnavailable, match=r"nowhere\.pem: wanted credentials"):
        TritonClient(
            "localhost:1",
            timeout_seconds=1,
            credentials=Credentials(tls=True, ca_file=tmp_path / "nowhere.pem"),
        )
