"""The command ``dicomnode serve`` in a process of its own, and DCMTK's storescu."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.support.forked import Forked, dicomnode

COMMAND = Path(sys.executable).with_name("dicomnode")
READY_SECONDS = 60.0

_STORAGE = re.compile(
    r"DICOM storage, pipeline (?P<pipeline>\S+): (?P<title>.+)@(?P<host>.+):(?P<port>\d+)"
)
_Found = TypeVar("_Found")


def wait_until(condition: Callable[[], _Found], seconds: float, what: str) -> _Found:
    """Ask `condition` until it holds and return what it said; fail at the deadline."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"within {seconds:g} s it did not happen that {what}"
        pause.wait(0.05)  # other processes have no condition to wait on


def write_config(path: Path, **sections: Any) -> Path:
    """Write a node's TOML: free ports, a short quiet time, JSON logs, unless `sections` say else.

    `data_dir` is ``data`` beside the file unless given.
    """
    values: dict[str, Any] = {
        "data_dir": str(path.parent / "data"),
        "receive": {"port": 0},
        "console": {"port": 0},
        "log": {"form": "json"},
        **sections,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(_toml(values)))
    return path


def pipeline(*destinations: str, quiet_seconds: float = 0.5, **more: Any) -> dict[str, Any]:
    """Return a section ``pipelines`` with one pipeline, called AE title CHEST."""
    one = {"ae_title": "CHEST", "destinations": list(destinations)} | more
    return {"chest": one | {"completion": {"quiet_seconds": quiet_seconds}}}


def _toml(values: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    tables = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    for key, value in values.items():
        if key not in tables:
            yield f"{key} = {json.dumps(value)}"  # what is used here is the same in TOML
    for key, value in tables.items():
        yield f"[{prefix}{key}]"
        yield from _toml(value, f"{prefix}{key}.")


class NodeProcess:
    """``dicomnode serve --config FILE``; a context manager that starts and, at the end, drains it.

    Parameters
    ----------
    config : Path
    data_dir : Path, optional
        Of the configuration; ``data`` beside it by default.
    installed : bool
        Whether to run the installed command, as users do, and not a forked one that starts faster.
    """

    def __init__(
        self, config: Path, *, data_dir: Path | None = None, installed: bool = False
    ) -> None:
        self.config = config
        self.data_dir = (data_dir or config.parent / "data").resolve()
        self.endpoints: dict[str, tuple[str, str, int]] = {}
        """By pipeline: called AE title, host, port."""
        self.console = ""
        self._installed = installed
        self._process: subprocess.Popen[str] | Forked | None = None
        self._lines: list[str] = []
        self._log_lines: list[str] = []
        self._changed = threading.Condition()
        self._readers: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.is_running():
            return
        try:
            self.terminate()
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def start(self, *, seconds: float = READY_SECONDS) -> None:
        """Start it, again too, and wait until it says that it is ready."""
        self._lines.clear()
        self._log_lines.clear()
        arguments = ["serve", "--config", str(self.config)]
        if self._installed:
            self._process = subprocess.Popen(
                [COMMAND, *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=_environment(),
            )
        else:
            self._process = Forked(dicomnode, arguments, environment=_environment())
        self._readers = [
            threading.Thread(target=self._read, args=(stream, into), daemon=True)
            for stream, into in (
                (self._process.stdout, self._lines),
                (self._process.stderr, self._log_lines),
            )
        ]
        for reader in self._readers:
            reader.start()
        with self._changed:
            self._changed.wait_for(lambda: "ready" in self._lines or self._has_ended(), seconds)
            lines = list(self._lines)
        assert "ready" in lines, f"the node did not become ready: {self.log_text()[-3000:]}"
        for line in lines:
            if storage := _STORAGE.fullmatch(line):
                where = (storage["title"], storage["host"], int(storage["port"]))
                self.endpoints[storage["pipeline"]] = where
            elif line.startswith("console: "):
                self.console = line.removeprefix("console: ").rstrip("/")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_running(self) -> bool:
        return self._process is not None and not self._has_ended()

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL, 10)

    def terminate(self, *, seconds: float = 60.0) -> int:
        """Ask it to drain, wait for its end, return its exit code."""
        return self._end(signal.SIGTERM, seconds)

    def _end(self, number: signal.Signals, seconds: float) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        code = self._process.wait(seconds)
        for reader in self._readers:
            reader.join(10)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
        return code

    # -- what it says

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """Return its log lines since it was started, those of one event if that is given."""
        with self._changed:
            lines = list(self._log_lines)
        entries = [json.loads(line) for line in lines if line.startswith("{")]
        return [each for each in entries if event is None or each.get("event") == event]

    def log_text(self) -> str:
        with self._changed:
            return "\n".join(self._log_lines)

    def wait_for_log(self, event: str, seconds: float = 30.0, **fields: Any) -> dict[str, Any]:
        """Wait for a log line; it is seen as soon as it is written."""

        def found() -> list[dict[str, Any]]:
            entries = [json.loads(line) for line in self._log_lines if line.startswith("{")]
            return [
                each
                for each in entries
                if each.get("event") == event and fields.items() <= each.items()
            ]

        with self._changed:
            assert self._changed.wait_for(found, seconds), f"no {event} within {seconds:g} s"
            return found()[0]

    # -- what its console says

    def get(self, path: str) -> Any:
        """Return JSON from the console, also that of a refusal."""
        try:
            with urllib.request.urlopen(self.console + path, timeout=10) as answer:  # noqa: S310 - ours
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs with their deliveries, the latest first."""
        found = self.get("/api/v1/jobs")
        return [self.get(f"/api/v1/jobs/{urllib.parse.quote(each['id'])}") for each in found]

    def wait_for_job(
        self,
        condition: Callable[[dict[str, Any]], bool],
        what: str,
        *,
        series: str | None = None,
        seconds: float = 60.0,
    ) -> dict[str, Any]:
        """Wait until the latest job, of one series if that is given, is as wanted; return it."""
        seen: list[dict[str, Any]] = []

        def latest() -> dict[str, Any] | None:
            seen[:] = [
                each for each in self.jobs() if series in {None, each["series_instance_uid"]}
            ]
            return seen[0] if seen and condition(seen[0]) else None

        try:
            job = wait_until(latest, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}; jobs: {seen}; log: {self.log_text()[-3000:]}") from None
        assert job is not None
        return job

    def wait_for_delivery(
        self, *, series: str | None = None, seconds: float = 90.0
    ) -> dict[str, Any]:
        """Wait until the latest job, of one series if given, is done and delivered everywhere."""
        return self.wait_for_job(
            is_delivered, "the latest job was delivered", series=series, seconds=seconds
        )

    # -- what is left of it

    def orphans(self) -> list[str]:
        """Return command lines of living processes that work for this node but are not it."""
        return [line for _, line in self._helpers()]

    def server_pid(self) -> int:
        """Return the process of its embedded tritonserver."""
        [found] = [
            pid for pid, line in self._helpers() if Path(line.split()[0]).name == "tritonserver"
        ]
        return found

    def _helpers(self) -> list[tuple[int, str]]:
        run_dir = str(self.data_dir / "triton")
        return [
            (pid, line)
            for pid, line in _command_lines()
            if pid != self.pid and (run_dir in line or self.shared_memory_prefix in line)
        ]

    def shared_memory(self) -> list[str]:
        """Return what of this node's inference lies in shared memory, its own and its server's."""
        prefixes = (self.shared_memory_prefix, f"dicomnode-tensor-{self.pid}-")
        return sorted(
            path.name
            for path in Path("/dev/shm").glob("dicomnode-*")  # noqa: S108 - Linux has it there
            if path.name.startswith(prefixes)
        )

    @property
    def shared_memory_prefix(self) -> str:
        digest = hashlib.sha256(str(self.data_dir / "triton").encode()).hexdigest()[:12]
        return f"dicomnode-triton-{digest}-"

    # -- reading its output

    def _read(self, stream: Any, into: list[str]) -> None:
        for line in stream:
            with self._changed:
                into.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None


def is_delivered(job: dict[str, Any]) -> bool:
    """Whether a job is done and every delivery of it, too."""
    states = {each["state"] for each in job["deliveries"]}
    return job["state"] in {"done", "refused"} and states == {"delivered"}


def run_command(
    *arguments: object, seconds: float = 120.0, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run ``dicomnode`` with arguments and return its end."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=_environment(),
        **more,
    )


def _environment() -> dict[str, str]:
    """Return the environment without this process's own configuration of the node."""
    return {key: each for key, each in os.environ.items() if not key.startswith("DICOMNODE_")}


def _command_lines() -> Iterable[tuple[int, str]]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile
        yield int(folder.name), line.replace(b"\0", b" ").decode(errors="replace")


# -- DCMTK

ACKNOWLEDGED = "Received Store Response (Success)"


def dcmtk(name: str) -> str:
    """Return DCMTK's own program; pynetdicom installs namesakes in the environment."""
    found = shutil.which(name, path=os.defpath)
    assert found, f"DCMTK's {name} is not installed: run tools/test-peers"
    return found


def storescu_command(
    node: NodeProcess, paths: Sequence[Path], *options: str, called: str | None = None
) -> list[str]:
    """Return the command that sends files or folders to the node's first pipeline."""
    title, host, port = next(iter(node.endpoints.values()))
    return [
        dcmtk("storescu"),
        "-v",
        "-R",  # propose only what is sent
        *("-aet", "DCMTK", "-aec", called or title),
        *options,
        *(host, str(port)),
        *map(str, paths),
    ]


def storescu(
    node: NodeProcess,
    paths: Sequence[Path],
    *options: str,
    called: str | None = None,
    seconds: float = 120.0,
) -> subprocess.CompletedProcess[str]:
    """Send with DCMTK's storescu, standard error within the output."""
    return subprocess.run(
        storescu_command(node, paths, *options, called=called),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
