"""What is loaded for what: each process holds the libraries of its role alone."""

import subprocess
import sys

import pytest

MODELS_AND_RESULTS = {"SimpleITK", "highdicom", "tritonclient", "grpc"}


def loaded_by(statement):
    """The top-level packages in memory of a fresh process after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "module", ["dicomnode.node.receiver_process", "dicomnode.node.composition"]
)
def test_a_receiver_loads_neither_models_nor_results(module):
    loaded = loaded_by(f"import {module}")

    assert "pynetdicom" in loaded
    assert not loaded & MODELS_AND_RESULTS


def test_a_worker_loads_both():
    assert loaded_by("import dicomnode.node.worker") >= MODELS_AND_RESULTS


def test_the_command_line_alone_loads_no_library_of_the_node():
    loaded = loaded_by("import dicomnode.cli.main")

    assert "typer" in loaded
    assert not loaded & (MODELS_AND_RESULTS | {"pydicom", "numpy", "sqlalchemy", "dbos"})
