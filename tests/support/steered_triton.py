"""A real tritonserver at one port, that may go and come, with a model whose mood a test sets.

Started with explicit model control: its repository API unloads and loads models.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tritonclient.grpc import InferenceServerClient

from dicomnode.inference.processes import Process, descendants
from tests.support.quick_triton import QuickTriton

MOODY_MODELS = Path(__file__).resolve().parent / "moody_models"


class SteeredTriton:
    """Starts and stops the server; what clients know of it is its address alone.

    Parameters
    ----------
    folder : Path
    repositories : sequence of Path
    """

    def __init__(self, folder: Path, *, repositories: Sequence[Path] = (MOODY_MODELS,)) -> None:
        self._folder = folder
        self._repositories = repositories
        self._moods = folder / "moods"
        self._moods.mkdir(parents=True)
        self.set_mood("well")
        # Bound and never listening, so that the port stays ours while the server is away.
        self._holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._holder.getsockname()[1]}"
        self._server: QuickTriton | None = None

    def set_mood(self, mood: str) -> None:
        """Say how the model behaves from its next call on."""
        path = self._moods / "mood"
        path.with_suffix(".new").write_text(mood)
        path.with_suffix(".new").replace(path)

    def notes(self) -> list[str]:
        """Return what the model has done since `forget`."""
        path = self._moods / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        """Start with an empty page, in a good mood."""
        (self._moods / "notes").unlink(missing_ok=True)
        self.set_mood("well")

    def start(self) -> None:
        """Start it and wait until it is ready; does nothing if it was."""
        if self._server is not None:
            return
        os.environ["MOODY_FOLDER"] = str(self._moods)
        server = _OnPort(
            repositories=self._repositories, run_dir=self._folder / "run", startup_seconds=60
        )
        server.at = self.address
        server.start()
        self._server = server

    def stop(self) -> None:
        """End it; a second call does nothing."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def close(self) -> None:
        self.stop()
        self._holder.close()
        os.environ.pop("MOODY_FOLDER", None)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be away for the block."""
        self.stop()
        yield
        self.start()

    @contextmanager
    def unloaded(self, model: str) -> Iterator[None]:
        """Be without a model for the block."""
        client = InferenceServerClient(self.address)
        client.unload_model(model)
        yield
        client.load_model(model)
        client.close()

    def process(self, *, model: str | None = None) -> Process:
        """Return the server's process, or that of a model."""
        wanted = f"--grpc-port={self.address.rpartition(':')[2]}"
        if model is not None:
            wanted = f"/{model}/1/model.py"
        (found,) = (
            each
            for each in descendants(os.getpid())
            if each.name in {"tritonserver", "triton_python_b"}
            and not each.is_dead
            and any(part.endswith(wanted) for part in _command_line(each.pid))
        )
        return found

    def limit_memory(self, model: str) -> None:
        """Have the kernel grant a model's process no more memory than it has."""
        pid = self.process(model=model).pid
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


class _OnPort(QuickTriton):
    at = ""

    def _hold_port(self) -> None:
        self._address = self.at

    def _options(self, backends: Path) -> list[str]:
        explicit = ["--model-control-mode=explicit", "--load-model=*"]
        return [*super()._options(backends), *explicit]


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")
    except OSError:
        return []  # it ended meanwhile
