import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from dicomnode.errors import InferenceUnavailable
from dicomnode.inference.triton_files import (
    check_numpy,
    find_triton,
    link_backends,
    server_environment,
    usable_cpu_count,
)


def test_without_the_wheel_the_container_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    with pytest.raises(InferenceUnavailable) as caught:
        find_triton()

    assert "nvidia-pytriton" in str(caught.value)
    assert "nvcr.io/nvidia/tritonserver" in str(caught.value)
    assert 'inference.triton = "HOST:8001"' in str(caught.value)


def test_a_python_without_stub_is_named(monkeypatch):
    monkeypatch.setattr(sys, "version_info", SimpleNamespace(major=3, minor=99))
    monkeypatch.setattr("dicomnode.inference.triton_files._libpython_folder", Path)

    with pytest.raises(InferenceUnavailable, match=r"no Python backend for Python 3\.99"):
        find_triton()


@pytest.mark.parametrize("version", ["2.0.0", "2.3.1", "3.0.0rc1"])
def test_numpy_2_is_refused_in_words(version: str):
    with pytest.raises(InferenceUnavailable, match=r"needs numpy 1\.26, found " + version):
        check_numpy(version)


def test_numpy_1_is_taken():
    check_numpy("1.26.4")


def test_the_backend_directory_is_links_that_are_made_right_again(tmp_path: Path):
    files = find_triton()
    link_backends(files, tmp_path)
    stub = tmp_path / "python" / "triton_python_backend_stub"
    stub.unlink()
    stub.symlink_to("/nowhere")

    link_backends(files, tmp_path)

    assert stub.resolve() == files.stub
    assert (tmp_path / "python" / "libtriton_python.so").is_file()


def test_models_run_under_this_interpreter_with_few_threads(tmp_path: Path):
    files = find_triton()

    found = server_environment(
        files,
        {"PATH": "/usr/bin", "LD_LIBRARY_PATH": "/opt/lib", "OMP_NUM_THREADS": "3"},
        caches=tmp_path,
    )

    assert found["PATH"] == f"{Path(sys.executable).parent}:/usr/bin"
    assert found["LD_LIBRARY_PATH"].endswith(":/opt/lib")
    assert found["OMP_NUM_THREADS"] == "3", "the operator's word counts"
    assert 1 <= int(found["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"]) <= 8
    assert found["PYTHONPYCACHEPREFIX"] == str(tmp_path)


@pytest.mark.parametrize(
    ("quota", "most"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", 10_000)]
)
def test_a_containers_quota_counts(tmp_path: Path, quota: str, most: int):
    file = tmp_path / "cpu.max"
    file.write_text(quota)

    assert 1 <= usable_cpu_count(file) <= most


def test_without_cgroups_all_processors_count(tmp_path: Path):
    assert usable_cpu_count(tmp_path / "nowhere") >= 1
