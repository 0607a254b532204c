"""Real peers for integration tests, started once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.receive import archive, scp
from tests.support.postgres import Postgres
from tests.support.quick_triton import QuickTriton

SUPPORT = Path(__file__).resolve().parents[1] / "support"
TEST_MODELS = SUPPORT / "triton_models"


@pytest.fixture(scope="session", autouse=True)
def _receivers_stop_at_once() -> Iterator[None]:
    """Some hundred are started and stopped here; each looks that often whether it is to stop."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (archive, scp):
            patch.setattr(module, "_POLL_SECONDS", 0.02)
        yield


@pytest.fixture(scope="session")
def test_models() -> Path:
    """A Triton model repository with small models and their manifests."""
    return TEST_MODELS


@pytest.fixture
def threshold(test_models: Path) -> Manifest:
    """The manifest of the test model that labels what is darker than -500 HU."""
    return load_manifest(test_models / "threshold" / "manifest.toml")


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedTriton]:
    """A tritonserver with the test models; tests must leave it as they found it."""
    server = QuickTriton(
        repositories=[TEST_MODELS], run_dir=tmp_path_factory.mktemp("triton"), startup_seconds=60
    )
    with server:
        yield server


@pytest.fixture
def triton(triton_server: EmbeddedTriton) -> Iterator[TritonClient]:
    """A client of that server."""
    with TritonClient(triton_server.address, timeout_seconds=20) as client:
        yield client


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonClient]:
    """A client of a tritonserver with stand-ins for published models, and models of every style."""
    server = QuickTriton(
        repositories=[SUPPORT / "clara_models", SUPPORT / "layout_models"],
        run_dir=tmp_path_factory.mktemp("stand-ins"),
        startup_seconds=60,
    )
    with server, TritonClient(server.address, timeout_seconds=60) as client:
        yield client


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; tests take databases of their own."""
    with Postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind, as the configuration names it."""
    if request.param == "sqlite":
        return "sqlite"
    return str(request.getfixturevalue("postgres").new_database())
