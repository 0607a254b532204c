"""Finding the tritonserver that the nvidia-pytriton wheel carries, and what it needs to run.

Only looks and links; `embedded` runs the server.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomnode.errors import InferenceUnavailable

_INSTEAD: Final = (
    "run the container nvcr.io/nvidia/tritonserver:24.10-py3 over the model repository and set "
    'inference.triton = "HOST:8001"'
)

# Libraries that take as many threads as the host has cores, each.
_THREAD_VARIABLES: Final = (
    "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
)
_MOST_THREADS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonFiles:
    """What the wheel and this Python installation have for the server.

    Attributes
    ----------
    server : Path
        The tritonserver program.
    python_backend : Path
        Folder of the Python backend, without stub.
    stub : Path
        The program that runs models under this version of Python.
    libraries : tuple of Path
        Folders for the dynamic linker.
    """

    server: Path
    python_backend: Path
    stub: Path
    libraries: tuple[Path, ...]


def find_triton() -> TritonFiles:
    """Look for the server and what it needs.

    Raises
    ------
    InferenceUnavailable
        Naming what is missing and what to do instead.
    """
    package = importlib.util.find_spec("pytriton")
    if package is None or not package.submodule_search_locations:
        raise InferenceUnavailable(
            "the embedded inference server comes with the package nvidia-pytriton, which is not "
            f"installed: install dicomnode-ct[embedded]; where there is no wheel for the platform "
            f"({sys.platform} {platform.machine()}, Python {platform.python_version()}), {_INSTEAD}"
        )
    root = Path(package.submodule_search_locations[0])
    triton = root / "tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    files = TritonFiles(
        server=triton / "bin" / "tritonserver",
        python_backend=triton / "backends" / "python",
        stub=triton / "python_backend_stubs" / version / "triton_python_backend_stub",
        libraries=(root.parent / "nvidia_pytriton.libs", _libpython_folder()),
    )
    if not files.server.is_file():
        raise InferenceUnavailable(
            f"the installed nvidia-pytriton carries no tritonserver for {sys.platform} "
            f"{platform.machine()}: {_INSTEAD}"
        )
    if not files.stub.is_file():
        raise InferenceUnavailable(
            f"the installed nvidia-pytriton has no Python backend for Python {version}: {_INSTEAD}"
        )
    check_numpy(importlib.metadata.version("numpy"))
    return files


def check_numpy(version: str) -> None:
    """Refuse numpy 2 and later, with which this server's tensors come back empty.

    Raises
    ------
    InferenceUnavailable
    """
    if int(version.split(".", maxsplit=1)[0]) >= 2:
        raise InferenceUnavailable(
            f"the embedded inference server needs numpy 1.26, found {version} (its Python backend "
            'was built before numpy 2 and gives back empty tensors): install "numpy<2", or '
            f"{_INSTEAD}"
        )


def link_backends(files: TritonFiles, folder: Path) -> Path:
    """Put together the backend directory that tritonserver wants, out of symbolic links.

    Parameters
    ----------
    files : TritonFiles
    folder : Path
        Where to; made if missing, and made right if an earlier run left other links.

    Returns
    -------
    Path
        For ``--backend-directory``.
    """
    backend = folder / "python"
    backend.mkdir(parents=True, exist_ok=True)
    sources = [path for path in files.python_backend.iterdir() if path.is_file()]
    for source in (*sources, files.stub):
        link = backend / source.name
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    return folder


def server_environment(
    files: TritonFiles, base: Mapping[str, str], *, caches: Path, threads: int | None = None
) -> dict[str, str]:
    """Return the environment for tritonserver and the models' processes.

    Parameters
    ----------
    files : TritonFiles
    base : mapping
        The node's own environment; thread counts set there win.
    caches : Path
        Where Python may keep compiled models, so that repositories can be read-only.
    threads : int, optional
        That an instance of a model computes with; wins over the environment.
    """
    environment = dict(base)
    # The stub embeds Python, which finds its packages by the interpreter that is first in PATH.
    environment["PATH"] = os.pathsep.join(
        [str(Path(sys.executable).parent), base.get("PATH", os.defpath)]
    )
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(
        [*map(str, files.libraries), *filter(None, [base.get("LD_LIBRARY_PATH")])]
    )
    environment["PYTHONPYCACHEPREFIX"] = str(caches)
    environment.pop("PYTHONHOME", None)
    default = str(min(usable_cpu_count(), _MOST_THREADS))
    for variable in _THREAD_VARIABLES:
        environment.setdefault(variable, default)
        if threads is not None:
            environment[variable] = str(threads)
    return environment


def usable_cpu_count(quota_file: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many processors this process may use: by affinity, and by a container's quota."""
    allowed = len(os.sched_getaffinity(0))
    try:
        quota, period = quota_file.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed  # no cgroup v2 quota here
    if quota == "max":
        return allowed
    return max(1, min(allowed, int(quota) // int(period)))


def _libpython_folder() -> Path:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    name = f"libpython{version}.so.1.0"
    folders = list(_library_folders())
    for folder in folders:
        if (folder / name).exists():
            return folder
    raise InferenceUnavailable(
        f"the embedded inference server needs {name}, found none in "
        f"{', '.join(map(str, folders))}: install it (Debian: libpython{version}) or use a Python "
        f"that was built with it, or {_INSTEAD}"
    )


def _library_folders() -> Iterator[Path]:
    for variable in ("LIBDIR", "LIBPL"):
        folder = sysconfig.get_config_var(variable)
        if folder:
            yield Path(folder)
    yield Path(sys.base_prefix) / "lib"
    # A Python without a library of its own can borrow the distribution's of the same version.
    yield Path("/usr/lib") / (sysconfig.get_config_var("MULTIARCH") or "")
