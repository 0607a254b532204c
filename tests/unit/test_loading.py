"""What is loaded for what: each process holds the libraries of its role alone."""

import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from dicomnode.node.receivers import PROGRAM

MODELS_AND_RESULTS = {"SimpleITK", "highdicom", "tritonclient", "grpc"}
CONSOLE = {"fastapi", "starlette", "uvicorn"}
DECODERS = {"gdcm", "jpeg_ls", "openjpeg", "PIL"}
RECEIVE = """
import sys
sys.argv = ["dicomnode", "receive", "--config", "there-is-none.toml"]
from dicomnode.cli.main import main
try:
    main()
except SystemExit:
    pass
"""
"""The command, up to its first look at the configuration."""


def loaded_by(statement):
    """The top-level packages in memory of a fresh process after a statement."""
    program = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("statement", [RECEIVE, PROGRAM.removesuffix("main()")])
def test_a_receiver_loads_neither_models_nor_results_nor_decoders_nor_a_console(statement):
    loaded = loaded_by(statement)

    assert "pynetdicom" in loaded
    assert not loaded & (MODELS_AND_RESULTS | DECODERS | CONSOLE)


def test_decoders_are_kept_out_however_often_it_is_said_and_nothing_else_is():
    loaded = loaded_by(
        "from dicomnode.receive.decoders import keep_decoders_out\n"
        "keep_decoders_out()\n"
        "keep_decoders_out()\n"
        "try:\n"
        "    import gdcm\n"
        "except ModuleNotFoundError as error:\n"
        "    assert str(error) == 'gdcm is no part of a receiver', error\n"
        "else:\n"
        "    raise AssertionError\n"
        "import pydicom.pixels, sys\n"
        "assert 'requests' not in sys.modules\n"
        "import requests"
    )

    assert "requests" in loaded
    assert not loaded & DECODERS


def test_a_worker_loads_both():
    assert loaded_by("import dicomnode.node.worker") >= MODELS_AND_RESULTS


def test_the_command_line_alone_loads_no_library_of_the_node():
    loaded = loaded_by("import dicomnode.cli.main")

    assert "typer" in loaded
    assert not loaded & (MODELS_AND_RESULTS | {"pydicom", "numpy", "sqlalchemy", "dbos"})


def test_alembic_is_loaded_where_there_are_tables_to_be_changed_alone(tmp_path):
    statement = (
        "from pathlib import Path; from dicomnode.database import open_database; "
        f"open_database('sqlite', data_dir=Path({str(tmp_path)!r})).close()"
    )

    assert "alembic" not in loaded_by(statement)  # all are made at once
    assert "alembic" not in loaded_by(statement)
    with closing(sqlite3.connect(tmp_path / "dicomnode.sqlite")) as connection, connection:
        connection.execute("drop index delivery_state")
        connection.execute("alter table series drop column traceparent")
        connection.execute("alter table job drop column traceparent")
        connection.execute("update dicomnode_version set version_num = '5002'")
    assert "alembic" in loaded_by(statement)
