"""The roles as commands of their own: two receivers, two workers, a console, one series.

All in forked processes; that ``dicomnode receive`` starts by itself is seen elsewhere.
"""

from __future__ import annotations

import json
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest

from dicomnode.database.series_rows import list_series
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.send.store_scu import send_instances
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.forked import Forked, dicomnode
from tests.support.pacs import FlakyPacs
from tests.support.web_archive import free_port
from tests.support.workers import Crew, ReceiverSpec, is_up, opened, run_receiver, wait_until

SLICES = 10


class Role:
    """``dicomnode ROLE --config FILE`` until the end of the block."""

    def __init__(self, config: Path, *arguments: str) -> None:
        self.lines: list[str] = []
        with (config.parent / "roles.log").open("ab") as log:
            self._process = Forked(
                dicomnode, [*arguments, "--config", str(config)], stderr=log.fileno()
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line.strip())

    def __enter__(self) -> Self:
        wait_until(lambda: "ready" in self.lines, 60, "the role was ready")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        self._reader.join(10)
        self._process.stdout.close()

    def ask_to_stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; return its exit code."""
        return self._process.wait(30)

    def address(self) -> AEAddress:
        (found,) = [each for each in self.lines if each.startswith("DICOM storage")]
        return AEAddress.parse(found.rpartition(" ")[2])

    def url(self) -> str:
        """Return the address of its console, or of its health where it has no console."""
        listening = [each for each in self.lines if re.match("console|health", each)]
        return min(listening).partition(": ")[2]


@pytest.fixture
def pacs() -> Iterator[FlakyPacs]:
    with FlakyPacs() as made:
        yield made


@pytest.fixture
def config(
    tmp_path: Path,
    database_url: str,
    pacs: FlakyPacs,
    triton_server: EmbeddedTriton,
    test_models: Path,
) -> Path:
    path = tmp_path / "dicomnode.toml"
    path.write_text(f"""
data_dir = "{tmp_path / "data"}"
[database]
url = "{database_url}"
[receive]
port = 0
reserve_bytes = 0
[console]
port = 0
[health]
port = 0
[log]
form = "json"
[inference]
triton = "{triton_server.address}"
model_repositories = ["{test_models}"]
[pipelines.plain]
ae_title = "PLAIN"
segment = ["threshold"]
classify = ["brightness"]
destinations = ["pacs"]
[pipelines.plain.completion]
quiet_seconds = 1.5
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
""")
    return path


def send(paths: list[Path], to: AEAddress) -> None:
    outcomes = send_instances(paths, to=to, calling_ae_title="CT", timeout_seconds=20)
    assert all(each.accepted for each in outcomes)


def test_one_series_over_two_receivers_is_one_job_of_two_workers(
    config: Path, pacs: FlakyPacs, tmp_path: Path
):
    with ExitStack() as stack:
        started = [
            Role(config, *arguments)
            for arguments in (
                ("receive",),
                ("receive",),
                ("work", "--queues", "analyze"),
                ("work", "--queues", "deliver"),
                ("console",),
            )
        ]
        one, two, analyzes, delivers, console = [stack.enter_context(each) for each in started]
        paths = make_series(tmp_path / "ct", shape_kji=(SLICES, 23, 17))

        send(paths[:4], one.address())
        send(paths[4:], two.address())

        pacs.wait_for(2, 40)
        series = httpx.get(f"{console.url()}api/v1/series").json()
        jobs = httpx.get(f"{console.url()}api/v1/jobs").json()
        assert [(each["instance_count"], each["revision"]) for each in series] == [(SLICES, 1)]
        assert [each["state"] for each in jobs] == ["done"]
        for role in (one, two, delivers):
            assert httpx.get(f"{role.url()}healthz").text == "ok\n"
        assert httpx.get(f"{analyzes.url()}readyz").json()["components"] == {
            "database": "ready",
            "inference": "ready",
        }

        for role in started:
            role.ask_to_stop()
        assert [role.wait() for role in started] == [0] * len(started)
    log = (config.parent / "roles.log").read_text().splitlines()
    entries = [json.loads(each) for each in log if each.startswith("{")]
    assert not [each for each in entries if each["level"] == "error"]


def test_a_receiver_that_dies_leaves_its_open_series_to_another(config: Path, tmp_path: Path):
    with Crew() as crew, opened(config) as (_settings, database):
        ports = {name: free_port() for name in ("one", "two")}
        for name, port in ports.items():
            crew.add(name, run_receiver, ReceiverSpec(config=config, folder=tmp_path, port=port))
        addresses = {name: AEAddress("PLAIN", "127.0.0.1", port) for name, port in ports.items()}
        for name, to in addresses.items():
            wait_until(lambda to=to: is_up(to), 30, f"receiver {name} was up")

        send(make_series(tmp_path / "ct", shape_kji=(SLICES, 19, 17)), addresses["two"])
        crew.dismiss("two")

        def is_closed() -> bool:
            with database.begin() as transaction:
                found = [(each.state, each.instance_count) for each in list_series(transaction)]
            return found == [("closed", SLICES)]

        wait_until(is_closed, 30, "the other closed the series")
