"""The commands that the documentation shows, run beside a receiving node.

A comment ``<!-- not run: why -->`` before a block excuses it.  Folders and the port are this
machine's; ``JOB``, ``UID`` and ``ID`` are ones that the node has.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.config import load
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.database.series_rows import close_series, list_series
from dicomnode.node.composition import Node
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.quarantine import Quarantine
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.deliveries import set_delivery
from tests.support.node import wait_until, write_config
from tests.support.pages import blocks, pages
from tests.support.receiving import receiving

SHELL = [block for page in pages() for block in blocks(page, "sh", "console", "bash")]


@dataclass(frozen=True)
class Site:
    """A node that receives, with a series, a job and a refused object on record."""

    folder: Path
    node: Node
    job: str
    series: str
    quarantined: str

    def local(self, command: str) -> str:
        """Put this machine's places and names into a command."""
        for shown, here in (
            ("/var/lib/dicomnode", str(self.folder / "data")),
            ("/backup", str(self.folder / "backup")),
            ("11112", str(self.node.receive_port)),
        ):
            command = command.replace(shown, here)
        for shown, here in (("JOB", self.job), ("UID", self.series), ("ID", self.quarantined)):
            command = re.sub(rf"\b{shown}\b", here, command)
        return command


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    path = write_config(
        folder / "dicomnode.toml",
        receive={"port": 0, "reserve_bytes": 0, "headroom_bytes": 0},
        pipelines={"chest-ct": {"ae_title": "CHESTCT", "destinations": ["out"]}},
        destinations={"out": {"kind": "folder", "path": str(folder / "results")}},
    )
    make_series(folder / "ct", shape_kji=(4, 9, 7))
    (folder / "backup").mkdir()
    with receiving(load(path)) as node:
        yield prepare(folder, node)


def prepare(folder, node):
    files = sorted((folder / "ct").iterdir())
    to = AEAddress("CHESTCT", "127.0.0.1", node.receive_port)
    send_instances(files, to=to, calling_ae_title="TEST", timeout_seconds=10)

    def received():
        with node.database.begin() as transaction:
            return list_series(transaction)

    series = wait_until(received, 10, "the series has a row")[0].series_instance_uid
    with node.database.begin() as transaction:
        revision = close_series(transaction, "chest-ct", series, because="quiet")
        assert revision is not None
        job = revision.job_id("chest-ct-0123abcd")
        create_job(transaction, job, revision)
        set_job(transaction, job, state="failed", reason="InferenceRejected", sentence="no")
        set_delivery(transaction, job, "out", state="parked", attempts=8, words="no answer")
    quarantined = Quarantine(folder / "data").keep(
        b"no DICOM", reason="the data set cannot be read", facts={"calling_ae_title": "CT1"}
    )
    return Site(folder, node, job, series, quarantined)


def lines_of(body):
    """Return the commands of a block: lines, joined where a backslash says so."""
    joined = body.replace("\\\n", " ")
    return [line for line in map(str.strip, joined.splitlines()) if line and line[0] != "#"]


@pytest.mark.parametrize("block", [each for each in SHELL if each.is_run], ids=str)
def test_a_command_that_is_shown_ends_well(block, site, monkeypatch):
    monkeypatch.chdir(site.folder)
    for variable in [each for each in os.environ if each.startswith("DICOMNODE_")]:
        monkeypatch.delenv(variable)
    for line in lines_of(block.body):
        command = site.local(line)
        if command.startswith("dicomnode ") and not re.search(r"[|;&<>$]", command):
            # In this process: starting an interpreter for each would take longer than all of them.
            ended = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
            assert ended.exit_code == 0, f"{line}: {ended.output}"
        else:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                # The system's own programs first: pynetdicom has namesakes of DCMTK's.
                env=dict(os.environ) | {"PATH": f"{os.defpath}:{Path(sys.executable).parent}"},
            )
            assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def test_what_is_not_run_is_few():
    assert len([each for each in SHELL if not each.is_run]) < len(SHELL) / 2
