"""Series and peers that acceptance tests share."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.demo.phantom import write_series
from dicomnode.inference.manifest import SHIPPED_MODELS
from tests.support.orthanc import Orthanc
from tests.support.quick_triton import QuickTriton

PHANTOM = {"slices": 40, "rows": 256, "columns": 240, "spacing_kji_mm": (8.0, 1.4, 1.45)}
"""Small, unequal on every axis, and large enough for plausible lungs."""


@pytest.fixture(scope="session")
def write_phantom():
    """Write the small phantom to a folder and return its files; UIDs are fresh each time."""

    def write(folder: Path, **changes) -> list[Path]:
        return write_series(folder, **(PHANTOM | changes))

    return write


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a Triton with the shipped models, for nodes that need not run their own."""
    server = QuickTriton(
        repositories=[SHIPPED_MODELS], run_dir=tmp_path_factory.mktemp("triton"), startup_seconds=60
    )
    with server:
        yield server.address


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def unpack(cases: Path, tmp_path: Path):
    """Unpack one of the real chest series and return its files."""

    def files_of(name: str) -> list[Path]:
        with tarfile.open(cases / "chest" / f"{name}.tar.xz") as archive:
            archive.extractall(tmp_path / "ct", filter="data")
        return sorted(each for each in (tmp_path / "ct").rglob("*") if each.is_file())

    return files_of
