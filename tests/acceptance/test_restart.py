"""Killed or drained at any time, the node loses nothing and sends nothing under a second UID."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.acceptance.results import assert_results_fit, grid_of
from tests.support.node import (
    ACKNOWLEDGED,
    NodeProcess,
    pipeline,
    storescu,
    storescu_command,
    wait_until,
    write_config,
)
from tests.support.pacs import FlakyPacs

_SENDING = re.compile(r"I: Sending file: (?P<path>.+)")


@pytest.fixture
def results_folder(tmp_path):
    return tmp_path / "results"


@pytest.fixture
def start_node(tmp_path):
    """Start a node with one destination; whatever becomes of the test, it ends with it."""
    nodes = []

    def start(destination, *, quiet_seconds=0.5, **sections):
        config = write_config(
            tmp_path / "node" / "dicomnode.toml",
            pipelines=pipeline("archive", quiet_seconds=quiet_seconds),
            destinations={"archive": destination},
            **sections,
        )
        node = NodeProcess(config)
        nodes.append(node)
        node.start()
        return node

    yield start
    # How it drains is asked where that is the question.
    for node in nodes:
        if node.is_running():
            node.kill()
            assert_no_server_survives(node)


@pytest.fixture
def pacs():
    with FlakyPacs(ae_title="ARCHIVE") as running:
        yield running


def folder(path):
    return {"kind": "folder", "path": str(path)}


def dimse(pacs):
    return {
        "kind": "dimse",
        "ae_title": pacs.ae_title,
        "host": "127.0.0.1",
        "port": pacs.port,
        "timeout_seconds": 20,
        "first_retry_seconds": 1,
    }


def outbox_uids(node):
    """SOP Instance UIDs of what is sent of the outbox, by file name.

    A report for a destination that refuses the SEG lies there too, and stays.
    """
    return {
        path.name: str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
        for path in (node.data_dir / "outbox").glob("*/*.dcm")
        if path.name in {"seg.dcm", "sr.dcm"}
    }


def assert_no_server_survives(node):
    wait_until(lambda: not node.orphans(), 20, "every process of the inference server ended")


def assert_nothing_is_left(node):
    """After a stop: no process, no shared memory."""
    assert node.orphans() == []
    assert node.shared_memory() == []


def send_until(node, paths, count):
    """Send with storescu, kill the node after `count` acknowledgments, return all acknowledged."""
    acknowledged = []
    current = None
    with subprocess.Popen(
        storescu_command(node, paths), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as sender:
        for line in sender.stdout:
            if sending := _SENDING.match(line):
                current = Path(sending["path"])
            elif ACKNOWLEDGED in line:
                acknowledged.append(current)
                if len(acknowledged) == count:
                    node.kill()
    assert sender.returncode != 0
    return acknowledged


def test_killed_while_receiving_it_keeps_every_acknowledged_instance(
    start_node, results_folder, triton, write_phantom, tmp_path
):
    paths = write_phantom(
        tmp_path / "ct", slices=121, rows=130, columns=120, spacing_kji_mm=(2.65, 2.8, 2.9)
    )
    node = start_node(folder(results_folder), quiet_seconds=3.0, inference={"triton": triton})

    acknowledged = send_until(node, paths, 35)
    assert 35 <= len(acknowledged) < len(paths)
    node.start()

    spooled = {path.name.rsplit(".", 2)[0] for path in (node.data_dir / "instances").rglob("*.dcm")}
    for path in acknowledged:
        assert str(dcmread(path, stop_before_pixels=True).SOPInstanceUID) in spooled
    [series] = node.get("/api/v1/series")
    assert series["state"] == "open"
    assert series["instance_count"] >= len(acknowledged)

    assert storescu(node, paths).returncode == 0
    job = node.wait_for_delivery()

    [series] = node.get("/api/v1/series")
    assert (series["instance_count"], series["revision"]) == (len(paths), 1)
    assert node.jobs() == [job]
    assert_arrived(results_folder, paths)


def test_killed_with_its_server_at_work_and_drained_when_it_is_at_it_again(
    start_node, results_folder, write_phantom, tmp_path
):
    paths = write_phantom(tmp_path / "ct")
    node = start_node(folder(results_folder))
    assert storescu(node, paths).returncode == 0
    begun = node.wait_for_job(lambda job: job["stage"] == "infer", "the job came to infer")

    # The server ends with the node.
    node.kill()
    assert_no_server_survives(node)
    node.start()

    # SIGTERM lets the analysis end.
    node.wait_for_job(lambda job: job["updated_at"] != begun["updated_at"], "the job went on")
    assert node.terminate() == 0
    assert [each["state"] for each in node.log("job_state")] == ["done"]
    assert "Traceback" not in node.log_text()
    assert_nothing_is_left(node)

    node.start()
    node.wait_for_delivery()
    assert_arrived_whole(results_folder, paths, tmp_path)


# The other stages are killed in the kill matrix, too, in processes that start faster.
@pytest.mark.parametrize(
    "stage",
    [
        pytest.param("closed", marks=pytest.mark.slow),
        pytest.param("infer", marks=pytest.mark.slow),
        "results",
    ],
)
def test_killed_during_the_analysis_it_goes_on_and_sends_once(
    stage, start_node, pacs, triton, write_phantom, tmp_path
):
    paths = write_phantom(tmp_path / "ct")
    node = start_node(dimse(pacs), inference={"triton": triton})
    assert storescu(node, paths).returncode == 0

    node.wait_for_log("series_closed")
    if stage != "closed":
        node.wait_for_job(lambda job: job["stage"] == stage, f"the job came to {stage}")
    node.kill()
    before = outbox_uids(node)

    node.start()
    job = node.wait_for_delivery()

    assert node.jobs() == [job]
    uids = outbox_uids(node)
    assert before.items() <= uids.items()
    assert Counter(pacs.uids()) == Counter(uids.values())
    assert sorted(uids) == ["seg.dcm", "sr.dcm"]


def test_killed_during_the_delivery_it_sends_the_same_objects(
    start_node, pacs, triton, write_phantom, tmp_path
):
    paths = write_phantom(tmp_path / "ct")
    node = start_node(dimse(pacs), inference={"triton": triton})
    pacs.stall(times=1)
    assert storescu(node, paths).returncode == 0

    wait_until(lambda: pacs.attempts, 60, "the peer had a C-STORE request before it")
    uids = outbox_uids(node)
    analyzed = node.jobs()[0]["seconds"]
    node.kill()
    assert pacs.uids() == []

    node.start()
    job = node.wait_for_delivery()

    assert Counter(pacs.uids()) == Counter(uids.values())
    # What was analyzed is not analyzed again.
    assert analyzed.items() <= job["seconds"].items()


def test_sigterm_with_little_time_leaves_the_analysis_for_the_next_start(
    start_node, results_folder, write_phantom, tmp_path
):
    paths = write_phantom(
        tmp_path / "ct", slices=120, rows=400, columns=380, spacing_kji_mm=(2.6, 0.9, 0.95)
    )
    node = start_node(folder(results_folder), drain_seconds=1)
    assert storescu(node, paths).returncode == 0
    node.wait_for_job(lambda job: job["stage"] == "infer", "the job came to infer")

    assert node.terminate(seconds=20) == 0

    assert not any(each["state"] == "done" for each in node.log("job_state"))
    assert_nothing_is_left(node)
    node.start()
    node.wait_for_delivery()
    assert_arrived(results_folder, paths)


def test_sigterm_leaves_an_open_series_for_the_next_start(
    start_node, results_folder, triton, write_phantom, tmp_path
):
    paths = write_phantom(tmp_path / "ct")
    node = start_node(folder(results_folder), quiet_seconds=2.0, inference={"triton": triton})
    assert storescu(node, paths).returncode == 0

    assert node.terminate() == 0
    assert node.log("series_closed") == []
    node.start()
    node.wait_for_delivery()

    assert_arrived_whole(results_folder, paths, tmp_path)


def assert_arrived(results_folder, paths):
    """SEG and SR lie in the destination folder, alone; return them."""
    arrived = {path.name: path for path in results_folder.rglob("*") if path.is_file()}
    assert sorted(arrived) == ["seg.dcm", "sr.dcm"]
    assert {path.parent.name for path in arrived.values()} == {grid_of(paths).series_instance_uid}
    return dcmread(arrived["seg.dcm"]), dcmread(arrived["sr.dcm"])


def assert_arrived_whole(results_folder, paths, scratch):
    """They also fit the CT, as others judge it."""
    assert_results_fit(*assert_arrived(results_folder, paths), paths, scratch / "judge")
