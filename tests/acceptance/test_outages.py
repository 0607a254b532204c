"""What is away when it is needed: a destination, a sound configuration, a port.

The inference server's outages stand in test_inference_outages.
"""

from __future__ import annotations

import socket
import tomllib

import pytest
from pydicom import dcmread

from tests.support.node import (
    NodeProcess,
    pipeline,
    run_command,
    storescu,
    write_config,
)
from tests.support.orthanc import free_port
from tests.support.pacs import FlakyPacs

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


def dimse(port, **more):
    return {
        "kind": "dimse",
        "ae_title": "ARCHIVE",
        "host": "127.0.0.1",
        "port": port,
        "timeout_seconds": 10,
        "first_retry_seconds": 0.3,
        "longest_retry_seconds": 1,
        "max_attempts": 50,
    } | more


def deliveries(job):
    return {each["destination"]: each for each in job["deliveries"]}


@pytest.fixture(scope="module")
def node(tmp_path_factory, triton):
    """A node with a destination of every unlucky kind; each test sends to pipelines of its own."""
    config = write_config(
        tmp_path_factory.mktemp("node") / "dicomnode.toml",
        inference={"triton": triton},
        pipelines={
            name: {
                "ae_title": name.upper(),
                "destinations": [name],
                "completion": {"quiet_seconds": 0.5},
            }
            for name in ("late", "seg-less", "strict", "full", "stranger")
        },
        destinations={
            "late": dimse(free_port()),
            "seg-less": dimse(free_port()),
            "strict": dimse(free_port(), fallback=[]),
            "full": dimse(free_port()),
            "stranger": dimse(free_port(), max_attempts=2),
        },
    )
    with NodeProcess(config) as running:
        yield running


@pytest.fixture
def send(node, write_phantom, tmp_path):
    """Send a fresh phantom to a pipeline and return its Series Instance UID."""

    def to(name):
        title, _, _ = node.endpoints[name]
        paths = write_phantom(tmp_path / name)
        sent = storescu(node, paths, called=title)
        assert sent.returncode == 0, sent.stdout
        return _series_of(paths)

    return to


def _series_of(paths):
    return str(dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID)


def _port_of(node, name):
    return tomllib.loads(node.config.read_text())["destinations"][name]["port"]


def test_a_destination_that_is_down_gets_the_results_when_it_is_up(node, send):
    series = send("late")
    job = node.wait_for_job(
        lambda job: job["state"] == "done" and deliveries(job)["late"]["attempts"] >= 2,
        "the delivery was tried twice",
        series=series,
    )
    waiting = deliveries(job)["late"]
    assert waiting["state"] == "pending"
    assert waiting["words"]

    pacs = FlakyPacs(ae_title="ARCHIVE")
    pacs.start(_port_of(node, "late"))
    try:
        ended = node.wait_for_delivery(series=series)
    finally:
        pacs.stop()

    assert sorted(each.sop_class_uid for each in pacs.received) == sorted(
        (SEGMENTATION, COMPREHENSIVE_3D_SR)
    )
    # Delivery has its own life: nothing was analyzed again.
    assert job["seconds"].items() <= ended["seconds"].items()


def test_a_destination_that_takes_no_seg_gets_the_sr_alone_and_it_is_told(node, send):
    pacs = FlakyPacs(ae_title="ARCHIVE", sop_classes=[COMPREHENSIVE_3D_SR])
    pacs.start(_port_of(node, "seg-less"))
    try:
        job = node.wait_for_delivery(series=send("seg-less"))
    finally:
        pacs.stop()

    assert [each.sop_class_uid for each in pacs.received] == [COMPREHENSIVE_3D_SR]
    assert "seg.dcm" in deliveries(job)["seg-less"]["words"]


def test_without_a_fallback_a_seg_that_is_refused_parks_the_delivery(node, send):
    pacs = FlakyPacs(ae_title="ARCHIVE", sop_classes=[COMPREHENSIVE_3D_SR])
    pacs.start(_port_of(node, "strict"))
    try:
        series = send("strict")
        job = node.wait_for_job(
            lambda job: (
                "strict" in deliveries(job) and deliveries(job)["strict"]["state"] == "parked"
            ),
            "the delivery was parked",
            series=series,
        )
    finally:
        pacs.stop()

    assert job["state"] == "done"
    assert [each.sop_class_uid for each in pacs.received] == [COMPREHENSIVE_3D_SR]
    assert "seg.dcm" in deliveries(job)["strict"]["words"]


def test_a_destination_out_of_resources_is_asked_again_for_what_it_lacks(node, send):
    pacs = FlakyPacs(ae_title="ARCHIVE")
    pacs.refuse(0xA700, times=3)
    pacs.start(_port_of(node, "full"))
    try:
        job = node.wait_for_delivery(series=send("full"))
    finally:
        pacs.stop()

    assert len(pacs.uids()) == len(set(pacs.uids())) == 2
    assert pacs.attempts == 5
    assert deliveries(job)["full"]["attempts"] >= 2


def test_a_destination_that_never_answers_is_parked_and_can_be_retried(node, send):
    series = send("stranger")
    job = node.wait_for_job(
        lambda job: (
            "stranger" in deliveries(job) and deliveries(job)["stranger"]["state"] == "parked"
        ),
        "the delivery was parked",
        series=series,
    )
    assert deliveries(job)["stranger"]["attempts"] == 2

    pacs = FlakyPacs(ae_title="ARCHIVE")
    pacs.start(_port_of(node, "stranger"))
    try:
        retried = run_command("jobs", "retry", job["id"], "--config", node.config)
        assert retried.returncode == 0, retried.stderr
        node.wait_for_delivery(series=series)
    finally:
        pacs.stop()

    assert len(pacs.uids()) == 2


def test_an_unknown_called_ae_title_is_rejected(node, write_phantom, tmp_path):
    sent = storescu(node, write_phantom(tmp_path / "ct", slices=3), called="NOBODY")

    assert sent.returncode != 0
    assert "Called AE Title Not Recognized" in sent.stdout


def test_all_faults_of_a_configuration_are_told_at_once(tmp_path):
    config = write_config(
        tmp_path / "dicomnode.toml",
        recieve={"port": 1},
        receive={"port": 70000},
        pipelines=pipeline("nowhere", segment=["lung"]),
        destinations={"pacs": {"kind": "dimse", "ae_title": "THIS TITLE IS TOO LONG"}},
    )

    ended = run_command("serve", "--config", config)

    assert ended.returncode == 78
    for fault in (
        "recieve: no such key; did you mean 'receive'?",
        "receive.port",
        "pipelines.chest.destinations.0: no destination is called 'nowhere'",
        "destinations.pacs.ae_title",
        "destinations.pacs.host: is required",
        "destinations.pacs.port: is required",
    ):
        assert fault in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_is_told_and_ends_the_node(triton, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = write_config(
            tmp_path / "dicomnode.toml",
            inference={"triton": triton},
            receive={"port": port},
            pipelines=pipeline("results"),
            destinations={"results": {"kind": "folder", "path": str(tmp_path / "results")}},
        )

        ended = run_command("serve", "--config", config, seconds=60)

    assert ended.returncode == 78
    assert f"cannot listen on 127.0.0.1 port {port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "ready" not in ended.stdout


def test_two_nodes_on_one_data_folder_are_refused(node):
    second = run_command("serve", "--config", node.config, seconds=60)

    assert second.returncode == 1
    assert "another process works as 'node'" in second.stderr
    assert "Traceback" not in second.stderr
    assert node.get("/readyz")["ready"] is True
