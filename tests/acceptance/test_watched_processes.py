"""Several receiver processes behind one port are one target for whoever watches them."""

from __future__ import annotations

import os
import signal
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.node import NodeProcess, pipeline, wait_until, write_config
from tests.support.otlp import Collector
from tests.support.raw_sender import Instance, RawAssociation

PEERS = 9


@pytest.fixture(scope="module")
def collector():
    with Collector() as running:
        yield running


@pytest.fixture(scope="module")
def node(tmp_path_factory, triton, collector):
    folder = tmp_path_factory.mktemp("processes")
    config = write_config(
        folder / "dicomnode.toml",
        drain_seconds=5,
        receive={"port": 0, "processes": 3},
        inference={"triton": triton},
        telemetry={"endpoint": collector.endpoint},
        pipelines=pipeline("share", quiet_seconds=600),
        destinations={"share": {"kind": "folder", "path": str(folder / "share")}},
    )
    with NodeProcess(config) as running:
        yield running


def scrape(node):
    with urllib.request.urlopen(f"{node.console}/metrics", timeout=20) as answer:  # noqa: S310 - ours
        page = answer.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def children(node):
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = status.read_bytes()
            parent = (status.parent / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue  # it ended meanwhile
        if b"dicomnode.node.receiver_process" in command and int(parent) == node.pid:
            found.append(int(status.parent.name))
    return found


OPEN = ("dicomnode_associations_open", "chest")
STORED = ("dicomnode_instances_received_total", "chest", "0000")


def test_what_several_processes_do_is_told_as_one(node, collector):
    peers = [RawAssociation(node.endpoints["chest"][2], "CHEST") for _ in range(PEERS)]
    for number, peer in enumerate(peers):
        assert peer.store(Instance(f"1.2.9.{number}", "1.2.9")) == 0x0000
    while_open = scrape(node)
    for peer in peers:
        peer.release()
        peer.socket.close()
    wait_until(lambda: scrape(node)[OPEN] == 0, 10, "the associations had ended")
    spans = collector.wait_for(
        lambda all_: sum(each.name == "association" for each in all_) == PEERS,
        "every association had ended",
    )
    after = scrape(node)

    assert while_open[OPEN] == PEERS
    assert after[STORED] == PEERS
    assert after["dicomnode_associations_total", "released"] == PEERS
    assert after["dicomnode_instance_store_seconds_count", "chest"] == PEERS
    pids = {each.process for each in spans if each.name == "association"}
    assert len(pids) > 1, "one process alone took them all"


def test_what_a_dead_process_did_counts_and_what_it_held_does_not(node):
    peers = [RawAssociation(node.endpoints["chest"][2], "CHEST") for _ in range(PEERS)]
    for number, peer in enumerate(peers):
        assert peer.store(Instance(f"1.2.10.{number}", "1.2.10")) == 0x0000
    before = scrape(node)
    victims = children(node)

    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    node.wait_for_log("receiver_process_died")
    wait_until(lambda: scrape(node)[OPEN] < PEERS, 10, "their associations counted no more")
    wait_until(lambda: len(node.log("receiver_process_ready")) == 4, 60, "others took their place")
    after = scrape(node)
    for peer in peers:
        peer.socket.close()

    assert len(victims) == 2
    assert before[OPEN] == PEERS
    assert after[STORED] == before[STORED] == 2 * PEERS
    assert node.get("/readyz")["ready"] is True
