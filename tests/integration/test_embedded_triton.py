"""The embedded server is supervised: it comes up, comes back, and never outlives the node."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dicomnode import metrics
from dicomnode.errors import InferenceUnavailable
from dicomnode.inference import embedded, guarded
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.processes import Process, descendants
from dicomnode.inference.repository import with_instances
from dicomnode.inference.shared_memory import FOLDER
from tests.support.quick_triton import QuickTriton, process_of

DIE = 2
STALL = 3

NODE = """
import sys, threading
from pathlib import Path
from dicomnode.inference.embedded import EmbeddedTriton
server = EmbeddedTriton(
    repositories=[Path(sys.argv[1])], run_dir=Path(sys.argv[2]), startup_seconds=60
)
server.start()
Path(sys.argv[2], "address").write_text(server.address)
threading.Event().wait()
"""


def wait_for(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        pause.wait(0.05)


def own_servers() -> list[Process]:
    return [each for each in descendants(os.getpid()) if each.name == "tritonserver"]


def order(number: int, argument: int = 0) -> dict[str, np.ndarray]:
    volume = np.zeros((3, 5, 7), np.int16)
    volume.flat[:2] = number, argument
    return {"VOLUME_HU": volume}


LABELS = {"LABELS": (np.uint8, (3, 5, 7))}


def regions_of(server: EmbeddedTriton) -> list[str]:
    return [path.name for path in FOLDER.glob(f"{server._region_prefix}*")]


@pytest.fixture
def server(tmp_path: Path, test_models: Path) -> Iterator[EmbeddedTriton]:
    with QuickTriton(
        repositories=[test_models], run_dir=tmp_path / "run", startup_seconds=60
    ) as running:
        yield running


def write_model(folder: Path, code: str) -> None:
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(
        'backend: "python"\n'
        'input [ { name: "A" data_type: TYPE_INT16 dims: [ -1 ] } ]\n'
        'output [ { name: "B" data_type: TYPE_INT16 dims: [ -1 ] } ]\n'
        "instance_group [ { kind: KIND_CPU } ]\n"
    )
    (folder / "1" / "model.py").write_text(code)


def test_it_listens_on_loopback_only(triton_server: EmbeddedTriton):
    port = int(triton_server.address.rpartition(":")[2])
    listening = "0A"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    rows += [line.split() for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]]

    found = {row[1] for row in rows if row[3] == listening and row[1].endswith(f":{port:04X}")}

    # 127.0.0.1, as IPv4 and as gRPC's IPv4 within IPv6.
    assert found
    assert found <= {f"0100007F:{port:04X}", f"0000000000000000FFFF00000100007F:{port:04X}"}
    assert triton_server.is_up()
    # One gauge a process: another server of this test run may have set it last.
    wait_for(lambda: metrics.TRITON_UP._value.get() == 1)


def test_a_killed_server_comes_back_at_the_same_address(server: EmbeddedTriton):
    address = server.address
    process = process_of(server)
    with TritonClient(address, timeout_seconds=20, shared_memory=False) as client:
        os.kill(process.pid, signal.SIGKILL)
        wait_for(lambda: not server.is_up(), seconds=5)
        # Nobody can take its port meanwhile.
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", int(address.rpartition(":")[2])))
        wait_for(lambda: server.explain() is not None, seconds=5)
        assert server.explain().startswith("the embedded inference server was ended by SIGKILL")
        client.wait_ready(["awkward"], deadline_seconds=30)

        answer = client.infer("awkward", order(0), LABELS)

    assert answer["LABELS"].shape == (3, 5, 7)
    assert server.address == address
    wait_for(server.is_up)
    assert server.explain() is None


@pytest.mark.parametrize(
    "whom", ["the server", pytest.param("server and guardian", marks=pytest.mark.slow)]
)
def test_a_server_that_lives_and_does_not_answer_is_started_again(
    tmp_path: Path, test_models: Path, whom: str, monkeypatch
):
    monkeypatch.setattr(embedded, "_ASK_SECONDS", 0.5)
    with QuickTriton(
        repositories=[test_models], run_dir=tmp_path, startup_seconds=60, hung_seconds=0.2
    ) as server:
        process = process_of(server)
        ours = {each.pid for each in descendants(process.parent_pid)} | {process.parent_pid}
        os.kill(process.pid, signal.SIGSTOP)
        if whom == "server and guardian":
            os.kill(process.parent_pid, signal.SIGSTOP)

        wait_for(lambda: server.explain() is not None)
        assert "lived and did not answer" in server.explain()
        wait_for(server.is_up)

        assert process_of(server).pid != process.pid
        wait_for(lambda: not any(is_alive(pid) for pid in ours), seconds=5)
        with TritonClient(server.address, timeout_seconds=20, shared_memory=False) as client:
            assert client.infer("awkward", order(0), LABELS)["LABELS"].shape == (3, 5, 7)


MEETING = """
import time
from pathlib import Path
import numpy as np
import SimpleITK
import triton_python_backend_utils as pb_utils

HERE = Path(__file__).resolve().parent

class TritonPythonModel:
    def initialize(self, args):
        print("here is instance", args["model_instance_name"])
        self.name = args["model_instance_name"]

    def execute(self, requests):
        (HERE / f"{self.name}.came").touch()
        end = time.monotonic() + 10
        while len(list(HERE.glob("*.came"))) < 2 and time.monotonic() < end:
            time.sleep(0.01)
        threads = SimpleITK.ProcessObject.GetGlobalDefaultNumberOfThreads()
        said = np.array([len(list(HERE.glob("*.came"))), threads], np.int16)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("B", said)]) for _ in requests]
"""


def test_instances_compute_at_once_with_as_many_threads_as_configured(tmp_path: Path):
    threads = 3
    write_model(tmp_path / "models" / "meeting", MEETING)
    repositories = with_instances(
        [tmp_path / "models"], {"meeting": 2}, folder=tmp_path / "run" / "models"
    )
    with (
        EmbeddedTriton(
            repositories=repositories,
            run_dir=tmp_path / "run",
            startup_seconds=60,
            model_threads=threads,
        ) as server,
        TritonClient(server.address, timeout_seconds=20) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        asked = [
            pool.submit(
                client.infer, "meeting", {"A": np.zeros(1, np.int16)}, {"B": (np.int16, (2,))}
            )
            for _ in range(2)
        ]
        said = [each.result()["B"].tolist() for each in asked]

    # Each was answered while the other was inside.
    assert said == [[2, threads], [2, threads]]
    # What models print is kept; it is written when they end.
    assert "here is instance meeting_0_1" in server.log_file.read_text()


def test_a_model_whose_process_died_comes_back(server: EmbeddedTriton, monkeypatch):
    monkeypatch.setattr(embedded, "_LEFT_LYING_SECONDS", 0.5)
    monkeypatch.setattr(embedded, "_ASK_SECONDS", 0.3)
    # Triton would wait for the answer to the request that the process died of.
    monkeypatch.setattr(guarded, "KILL_AFTER_SECONDS", 0.5)
    with TritonClient(server.address, timeout_seconds=1, shared_memory=False) as client:
        with pytest.raises(Exception, match="inference server"):
            client.infer("awkward", order(DIE), LABELS)
        wait_for(lambda: not server.is_up())
        wait_for(server.is_up)

        assert not client.infer("awkward", order(0), LABELS)["LABELS"].any()


def test_kill_9_of_the_node_leaves_no_orphan_of_a_busy_server(tmp_path: Path, test_models: Path):
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(test_models), str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for((tmp_path / "address").exists)
        address = (tmp_path / "address").read_text()
        children = {each.pid for each in descendants(node.pid)}
        assert len(children) == 5  # guardian, server, three models
        with (
            TritonClient(address, timeout_seconds=0.5) as client,
            pytest.raises(Exception, match="did not answer"),
        ):
            client.infer("awkward", order(STALL, 6000), LABELS)
    finally:
        node.kill()
        node.wait()

    wait_for(lambda: not any(is_alive(pid) for pid in children), seconds=10)

    server = EmbeddedTriton(repositories=[test_models], run_dir=tmp_path, startup_seconds=60)
    assert regions_of(server) == []


def test_what_a_killed_guardian_left_is_cleared_and_nothing_is_left_after_stop(
    tmp_path: Path, test_models: Path
):
    write_model(tmp_path / "models" / "site", "class TritonPythonModel:\n    pass\n")
    server = EmbeddedTriton(
        repositories=[test_models, tmp_path / "models"],
        run_dir=tmp_path / "run",
        startup_seconds=60,
    )
    left = FOLDER / f"{server._region_prefix}1-left"
    left.write_bytes(b"left")
    before = {each.pid for each in descendants(os.getpid())}

    server.start()
    assert not left.exists()
    assert regions_of(server)
    started = [each for each in descendants(os.getpid()) if each.pid not in before]
    # Several repositories are served together.
    with TritonClient(server.address, timeout_seconds=5) as client:
        assert client.missing(["threshold", "site"]) == ""

    server.stop()
    server.stop()

    assert {"tritonserver"} < {each.name for each in started}
    assert not [each for each in descendants(os.getpid()) if each.pid not in before]
    assert regions_of(server) == []
    assert not server.is_up()


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def test_a_model_that_fails_to_load_is_told_in_its_own_words(tmp_path: Path):
    write_model(
        tmp_path / "models" / "weightless",
        "class TritonPythonModel:\n"
        "    def initialize(self, args):\n"
        "        raise FileNotFoundError('the weights are not here')\n",
    )
    server = EmbeddedTriton(
        repositories=[tmp_path / "models"], run_dir=tmp_path / "run", startup_seconds=60
    )

    with pytest.raises(InferenceUnavailable, match=r"weightless.*the weights are not here"):
        server.start()

    assert "the weights are not here" in server.log_file.read_text()


def test_a_model_in_two_repositories_is_refused_by_name(tmp_path: Path, test_models: Path):
    write_model(tmp_path / "threshold", "class TritonPythonModel:\n    pass\n")
    server = EmbeddedTriton(
        repositories=[test_models, tmp_path], run_dir=tmp_path / "run", startup_seconds=60
    )

    with pytest.raises(InferenceUnavailable, match="two model repositories have a model threshold"):
        server.start()


def test_a_missing_repository_is_refused_by_name(tmp_path: Path):
    server = EmbeddedTriton(
        repositories=[tmp_path / "nowhere"], run_dir=tmp_path / "run", startup_seconds=60
    )

    with pytest.raises(InferenceUnavailable, match="nowhere"):
        server.start()


def test_a_folder_runs_one_server(triton_server: EmbeddedTriton, test_models: Path):
    second = EmbeddedTriton(
        repositories=[test_models], run_dir=triton_server.log_file.parent, startup_seconds=60
    )

    with pytest.raises(InferenceUnavailable, match="another process runs"):
        second.start()

    assert triton_server.is_up()


def test_a_server_that_is_not_ready_in_time_is_ended(tmp_path: Path, test_models: Path):
    server = EmbeddedTriton(repositories=[test_models], run_dir=tmp_path, startup_seconds=0.01)
    before = {each.pid for each in descendants(os.getpid())}

    with pytest.raises(InferenceUnavailable, match=r"was not ready within 0\.01 s"):
        server.start()

    assert not [each for each in descendants(os.getpid()) if each.pid not in before]


def no_process(*_arguments: object, **_named: object) -> None:
    raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


def open_pipes() -> set[str]:
    links = (each.readlink() for each in Path("/proc/self/fd").iterdir() if each.is_symlink())
    return {str(link) for link in links if str(link).startswith("pipe:")}


def test_a_server_that_cannot_be_started_says_why_and_leaves_no_pipe(
    tmp_path: Path, test_models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(subprocess, "Popen", no_process)
    server = EmbeddedTriton(
        repositories=[test_models], run_dir=tmp_path / "triton", startup_seconds=30
    )
    before = open_pipes()

    with pytest.raises(InferenceUnavailable, match="could not be started: Resource temporarily"):
        server.start()

    assert open_pipes() == before


def test_a_machine_without_a_process_to_spare_is_asked_again(
    server: EmbeddedTriton, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(subprocess, "Popen", no_process)
    os.kill(process_of(server).pid, signal.SIGKILL)
    wait_for(lambda: "could not be started" in (server.explain() or ""))

    monkeypatch.undo()

    wait_for(server.is_up)
