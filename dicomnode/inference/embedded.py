"""The embedded inference server: tritonserver as a child of the node, supervised by one thread.

Where its files come from is `triton_files`; how it dies with the node is `guarded`.  The thread
``triton-supervisor`` starts the server, watches it, starts it again and ends it; the other methods
only look and wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

from dicomnode import metrics
from dicomnode.errors import InferenceError, InferenceUnavailable
from dicomnode.inference.client import TritonClient
from dicomnode.inference.guarded import KILL_AFTER_SECONDS, Guarded
from dicomnode.inference.processes import dead_descendants
from dicomnode.inference.repository import check_repositories
from dicomnode.inference.restarts import Restarts
from dicomnode.inference.server_log import ServerLog
from dicomnode.inference.shared_memory import FOLDER as SHARED_MEMORY
from dicomnode.inference.triton_files import find_triton, link_backends, server_environment
from dicomnode.log import get_logger

_log = get_logger(__name__)

_LOOPBACK: Final = "127.0.0.1"

# How often the supervisor looks whether the process lives, and asks whether it answers.
_LOOK_SECONDS: Final = 0.1
_ASK_SECONDS: Final = 2.0

# A dead process that Triton has not taken note of for this long was a model's.
_LEFT_LYING_SECONDS: Final = 3.0

# Triton waits this long for running requests.
_EXIT_SECONDS: Final = 5

# A shell's way to say that a program was ended by a signal; the guardian speaks it too.
_KILLED: Final = 128

# Volumes travel to the models' processes through shared memory; Docker gives 64 MiB by default.
_LEAST_SHARED_MEMORY_BYTES: Final = 512 << 20


class _End(NamedTuple):
    """Why a run of the server ended; the reason continues a sentence about it."""

    reason: str
    is_hung: bool = False


class EmbeddedTriton:
    """The tritonserver of the nvidia-pytriton wheel, on loopback, as long as this object runs.

    Parameters
    ----------
    repositories : sequence of Path
        Triton model repositories.
    run_dir : Path
        For links, caches and the log; one running server a folder.
    startup_seconds : float
        Longest wait for server and models.
    model_threads : int, optional
        Threads that an instance of a model computes with; by default what this machine has, and
        no more than a few.
    hung_seconds : float, optional
        A server that lives and answers no question for this long is killed and started again.
    """

    def __init__(
        self,
        *,
        repositories: Sequence[Path],
        run_dir: Path,
        startup_seconds: float,
        model_threads: int | None = None,
        hung_seconds: float = 30.0,
    ) -> None:
        self._repositories = tuple(path.resolve() for path in repositories)
        self._run_dir = run_dir.resolve()
        self._startup_seconds = startup_seconds
        self._model_threads = model_threads
        self._hung_seconds = hung_seconds
        # Names the backend's shared memory after the folder: what a killed server left is known.
        digest = hashlib.sha256(str(self._run_dir).encode()).hexdigest()[:12]
        self._region_prefix = f"dicomnode-triton-{digest}-"
        # The guardian of a killed node may still be at work when the next node starts.
        self._own_prefix = f"{self._region_prefix}{os.getpid()}-"
        self._stop = threading.Event()
        self._up = threading.Event()
        self._settled = threading.Event()
        self._failure: str | None = None
        self._restarts = Restarts()
        self._log = ServerLog(self._run_dir / "tritonserver.log")
        self._dead_since: dict[int, float] = {}
        self._thread: threading.Thread | None = None
        self._lock_file: int | None = None
        self._port_holder: socket.socket | None = None
        self._address = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """``127.0.0.1:PORT`` of the gRPC endpoint, the same over restarts of the server."""
        return self._address

    @property
    def log_file(self) -> Path:
        """What server and models print."""
        return self._log.path

    def is_up(self) -> bool:
        """Whether the server ran, answered and had all models when last looked at."""
        return self._up.is_set()

    def explain(self) -> str | None:
        """Return why the server is not up, in words, if it was and has ended since; else None."""
        return None if self._up.is_set() else self._restarts.sentence or None

    def start(self) -> None:
        """Start the server and wait until it and all its models are ready.

        Raises
        ------
        InferenceUnavailable
            With what is missing, or with the server's or a model's own words why it did not start.
        """
        if self._thread is not None:
            raise RuntimeError("the embedded inference server was started before")
        files = find_triton()
        check_repositories(self._repositories)
        self._run_dir.mkdir(parents=True, exist_ok=True)
        self._lock()
        self._sweep()
        self._warn_of_small_shared_memory()
        self._hold_port()
        backends = link_backends(files, self._run_dir / "backends")
        environment = server_environment(
            files, os.environ, caches=self._run_dir / "caches", threads=self._model_threads
        )
        command = [str(files.server), *self._options(backends)]
        self._thread = threading.Thread(
            target=self._supervise,
            args=(command, environment),
            name="triton-supervisor",
            daemon=True,  # the guardian ends the server also where nobody calls stop()
        )
        self._thread.start()
        # The supervisor keeps the deadline, and knows more to say when it passes.
        self._settled.wait(self._startup_seconds + 2 * KILL_AFTER_SECONDS)
        if not self._up.is_set():
            failure = self._failure or f"was not ready within {self._startup_seconds:g} s"
            self.stop()
            raise InferenceUnavailable(
                f"the embedded inference server {failure} (log: {self.log_file})"
            )

    def stop(self) -> None:
        """End the server: SIGTERM, a deadline, SIGKILL.  A second call does nothing."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._sweep()
        if self._port_holder is not None:
            self._port_holder.close()
            self._port_holder = None
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _options(self, backends: Path) -> list[str]:
        return [
            *(f"--model-repository={path}" for path in self._repositories),
            f"--backend-directory={backends}",
            f"--backend-config=python,shm-region-prefix-name={self._own_prefix}",
            f"--grpc-address={_LOOPBACK}",
            f"--grpc-port={self._address.rpartition(':')[2]}",
            "--reuse-grpc-port=true",  # see _hold_port
            "--allow-http=false",
            "--allow-metrics=false",
            # A model that fails to load is told by the server, with its reason, if it goes on.
            "--exit-on-error=false",
            f"--exit-timeout-secs={_EXIT_SECONDS}",
            "--log-format=ISO8601",
        ]

    # The rest runs on the supervisor's thread.

    def _supervise(self, command: list[str], environment: dict[str, str]) -> None:
        client = TritonClient(self._address, timeout_seconds=_ASK_SECONDS, shared_memory=False)
        try:
            while not self._stop.is_set():
                began = time.monotonic()
                reason = self._run_once(command, environment, client)
                if self._stop.is_set() or not self._settled.is_set():
                    self._failure = reason
                    return
                # A server that dies at once must not spin.
                pause = self._restarts.count(reason, ran_seconds=time.monotonic() - began)
                metrics.TRITON_RESTARTS.inc()
                event = "triton_crash_loop" if self._restarts.is_loop else "triton_ended"
                _log.error(
                    event,
                    reason=reason,
                    in_a_row=self._restarts.in_a_row,
                    restart_in_seconds=pause,
                )
                self._stop.wait(pause)
        finally:
            client.close()
            self._set_up(False)
            self._settled.set()

    def _run_once(
        self, command: list[str], environment: dict[str, str], client: TritonClient
    ) -> str:
        """Run the server until it ends, fails to become ready the first time, or stop is asked."""
        self._sweep()
        self._log.rotate()
        try:
            server = Guarded(
                command,
                environment=environment,
                log_file=self.log_file,
                region_prefix=self._own_prefix,
            )
        except OSError as error:
            return f"could not be started: {error.strerror}"
        ended = _End("was stopped")
        try:
            ended = self._watch(server, client)
        finally:
            self._set_up(False)
            server.end(at_once=ended.is_hung)
        return ended.reason

    def _watch(self, server: Guarded, client: TritonClient) -> _End:
        deadline = time.monotonic() + self._startup_seconds
        heard: float | None = None
        next_question = 0.0
        while not self._stop.wait(_LOOK_SECONDS):  # a process and a stop cannot be waited for both
            code = server.exit_status()
            if code is not None:
                return _End(
                    f"was ended by {signal.Signals(code - _KILLED).name}"
                    if code > _KILLED
                    else f"ended with status {code}: {self._log.last_words()}"
                )
            if self._up.is_set() and time.monotonic() < next_question:
                continue
            next_question = time.monotonic() + _ASK_SECONDS
            if self._up.is_set() and self._has_lost_a_model(server.guardian_pid):
                return _End("lost the process of a model")
            failed = self._look(client)
            now = time.monotonic()
            heard = heard if failed is None else now
            if failed and not self._settled.is_set():
                return _End(failed)
            if now > deadline and not self._settled.is_set():
                words = self._log.last_words()
                return _End(f"was not ready within {self._startup_seconds:g} s: {words}")
            # Until the first answer it has the time of a start.
            if now > (deadline if heard is None else heard + self._hung_seconds):
                return _End("lived and did not answer", is_hung=True)
            self._log.rotate()
        return _End("was stopped")

    def _has_lost_a_model(self, guardian_pid: int) -> bool:
        """Whether a model's process died: Triton goes on calling the model ready all the same.

        While models load, Triton runs processes that only ask for a configuration; when those end
        it takes note of them, if late.  The dead of a model it leaves lying.
        """
        now = time.monotonic()
        dead = dead_descendants(guardian_pid)
        self._dead_since = {pid: self._dead_since.get(pid, now) for pid in dead}
        return any(now - since > _LEFT_LYING_SECONDS for since in self._dead_since.values())

    def _look(self, client: TritonClient) -> str | None:
        """Ask for the models; return why some failed to load, or None if there was no answer."""
        try:
            states = client.model_states(deadline_seconds=_ASK_SECONDS)
        except InferenceError:
            # Not there yet, or gone: `_watch` sees the process, and every caller of the client
            # is told by its own call.
            self._set_up(False)
            return None
        failed = [
            f"{name}: {state}" for name, state in states.items() if state.startswith("UNAVAILABLE")
        ]
        ready = bool(states) and all(state == "READY" for state in states.values())
        if ready and not self._up.is_set():
            _log.info("triton_ready", address=self._address, models=sorted(states))
        elif failed and self._settled.is_set() and self._up.is_set():
            _log.error("triton_models_failed", models=failed)
        self._set_up(ready)
        return f"could not load {'; '.join(failed)}" if failed else ""

    def _set_up(self, up: bool) -> None:
        metrics.TRITON_UP.set(1 if up else 0)
        if up:
            self._up.set()
            self._settled.set()
        else:
            self._up.clear()

    def _lock(self) -> None:
        descriptor = os.open(self._run_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InferenceUnavailable(
                f"another process runs an embedded inference server in {self._run_dir}"
            ) from None
        self._lock_file = descriptor

    def _hold_port(self) -> None:
        """Take a free port and keep it, so that it is still ours when the server starts again.

        The socket is bound and never listens: the kernel gives connections to the server, and the
        port to nobody else.
        """
        holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((_LOOPBACK, 0))
        self._port_holder = holder
        self._address = f"{_LOOPBACK}:{holder.getsockname()[1]}"

    def _sweep(self) -> None:
        """Remove shared memory of a server of this folder that was killed; the lock is ours."""
        for path in SHARED_MEMORY.glob(f"{self._region_prefix}*"):
            path.unlink(missing_ok=True)

    @staticmethod
    def _warn_of_small_shared_memory() -> None:
        room = shutil.disk_usage(SHARED_MEMORY).free
        if room < _LEAST_SHARED_MEMORY_BYTES:
            _log.warning(
                "shared_memory_small", free_bytes=room, wanted_bytes=_LEAST_SHARED_MEMORY_BYTES
            )
