"""The composition root: what it says of itself, and that a failed start leaves nothing behind."""

from __future__ import annotations

import socket
import threading
from contextlib import closing
from socketserver import BaseServer

import httpx
import pytest

from dicomnode.config import Config
from dicomnode.errors import ConfigError, StateError
from dicomnode.node.composition import Node
from dicomnode.node.foundation import Loop
from tests.support.orthanc import free_port


@pytest.fixture
def configured(tmp_path):
    """Build a configuration with an inference server that is away."""

    def build(**sections):
        return Config.model_validate(
            {
                "data_dir": tmp_path / "data",
                "drain_seconds": 1,
                "receive": {"port": 0},
                "console": {"port": 0},
                "inference": {"triton": f"127.0.0.1:{free_port()}"},
                "pipelines": {
                    "chest": {"ae_title": "CHEST", "destinations": ["results"]},
                    "other": {"ae_title": "OTHER", "destinations": ["results"]},
                },
                "destinations": {"results": {"kind": "folder", "path": tmp_path / "results"}},
            }
            | sections
        )

    return build


@pytest.fixture
def taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def our_threads():
    names = ("series-closer", "orphan-sweep", "housekeeping", "receive-accept", "console")
    return [each.name for each in threading.enumerate() if each.name in names]


def test_probes_have_a_port_apart_from_the_console_where_one_is_given(configured):
    node = Node(configured(health={"port": 0}))
    node.start()
    try:
        urls = {each.what: each.where for each in node.endpoints if each.where.startswith("http")}
        assert urls.keys() == {"console", "health"}
        answers = {what: httpx.get(f"{url}healthz").status_code for what, url in urls.items()}
        assert answers == {"console": 200, "health": 200}
        assert httpx.get(f"{urls['health']}api/v1/jobs").status_code == 404
    finally:
        node.stop()


def test_before_its_start_it_has_no_endpoints(configured):
    node = Node(configured())

    assert node.endpoints == ()
    assert node.receive_port == 0
    assert node.readiness()["receive"] == "not listening"
    with pytest.raises(StateError, match="has not been started"):
        _ = node.database


def test_a_started_node_names_its_endpoints_and_can_be_stopped(configured):
    node = Node(configured())
    node.start()
    try:
        said = {each.what: each.where for each in node.endpoints}
        readiness = node.readiness()
    finally:
        node.stop()

    assert said["DICOM storage, pipeline chest"] == f"CHEST@127.0.0.1:{port_of(said)}"
    assert said["DICOM storage, pipeline other"] == f"OTHER@127.0.0.1:{port_of(said)}"
    assert said["console"].startswith("http://127.0.0.1:")
    assert readiness["receive"] is None
    assert readiness["database"] is None
    assert readiness["inference"]
    assert our_threads() == []


def port_of(said):
    return said["DICOM storage, pipeline chest"].rpartition(":")[2]


@pytest.mark.parametrize(("section", "error"), [("receive", ConfigError), ("console", StateError)])
def test_a_start_that_fails_stops_what_was_started(configured, taken_port, section, error):
    node = Node(configured(**{section: {"port": taken_port}}))

    with pytest.raises(error, match=f"port {taken_port}"):
        node.start()

    assert our_threads() == []
    # The slot is free again.
    again = Node(configured())
    again.start()
    again.stop()


def test_a_model_that_is_not_there_makes_nothing(configured, tmp_path):
    pipelines = {"chest": {"ae_title": "CHEST", "segment": ["liver"], "destinations": ["results"]}}

    with pytest.raises(ConfigError, match="no model is called 'liver'"):
        Node(configured(pipelines=pipelines)).start()

    assert not (tmp_path / "data").exists()


def test_a_stopped_node_listens_no_more(configured):
    node = Node(configured())
    node.start()
    port = node.receive_port
    node.stop()

    with closing(socket.socket()) as caller, pytest.raises(ConnectionRefusedError):
        caller.connect(("127.0.0.1", port))


def test_a_node_lives_while_its_loops_come_round(configured):
    node = Node(configured())
    node.start()
    try:
        found = node.liveness()
    finally:
        node.stop()

    assert found == dict.fromkeys(
        ("orphan-sweep", "housekeeping", "series-closer", "receive-accept")
    )
    assert node.liveness() == {}, "a node that drains ends its loops on purpose"


def test_a_loop_that_has_ended_is_named(configured):
    node = Node(configured())
    node.start()
    try:
        accepting = node._receiver.scp
        BaseServer.shutdown(accepting._server)  # its loop alone
        accepting._thread.join(10)
        found = node.liveness()
    finally:
        node.stop()

    assert found["receive-accept"] == "its thread has ended"
    assert found["series-closer"] is None


def test_a_loop_that_hangs_is_named(configured):
    node = Node(configured())
    node._loops["series-closer"] = Loop(lambda: 400.0, 300.0)

    assert node.liveness() == {"series-closer": "hangs for 400 s"}


def test_a_node_below_its_reserve_is_not_ready(configured):
    config = configured(receive={"port": 0, "reserve_bytes": 1 << 60})
    config.data_dir.mkdir()

    assert "the reserve is" in Node(config).readiness()["spool"]


def test_from_the_beginning_of_its_drain_a_node_is_not_ready(configured):
    node = Node(configured())
    node.start()
    node.stop()

    assert set(node.readiness().values()) == {"the node is draining"}
