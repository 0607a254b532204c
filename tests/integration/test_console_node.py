"""An upload to a node that receives: as quick and as durable as an association."""

from __future__ import annotations

import httpx
import pytest

from dicomnode.config import Config
from dicomnode.node.composition import Node
from tests.support.ct import make_series
from tests.support.node import wait_until


@pytest.fixture
def node(tmp_path):
    config = Config(
        data_dir=tmp_path / "data",
        receive={"port": 0, "reserve_bytes": 0, "headroom_bytes": 0},
        console={"port": 0},
        pipelines={
            "chest": {
                "ae_title": "CHEST",
                "destinations": ["share"],
                # Were the upload not known as an association that ended, this would be the wait.
                "completion": {"quiet_seconds": 3000.0, "settle_seconds": 0.2},
            }
        },
        destinations={"share": {"kind": "folder", "path": str(tmp_path / "share")}},
    )
    started = Node(config, roles=frozenset(("receive", "console")))
    started.start()
    yield started
    started.stop()


@pytest.fixture
def api(node):
    [console] = [each.where for each in node.endpoints if each.what == "console"]
    with httpx.Client(base_url=console, timeout=60) as client:
        yield client


def test_an_uploaded_series_is_closed_when_the_upload_ends(api, tmp_path):
    files = [("files", (path.name, path.read_bytes())) for path in make_series(tmp_path / "ct")]

    answer = api.post("/api/v1/pipelines/chest/instances", files=files).json()

    assert answer["stored"] == 9
    [uid] = answer["series_instance_uids"]
    [job] = wait_until(
        lambda: api.get("/api/v1/jobs", params={"series_instance_uid": uid}).json(),
        30,
        "the series was closed and its job enqueued",
    )
    assert job["state"] == "queued"
    [series] = api.get(f"/api/v1/series/{uid}").json()
    assert (series["closed_because"], series["calling_ae_title"]) == (
        "contiguous",
        "CONSOLE-UPLOAD",
    )


def test_a_console_without_a_worker_says_that_models_are_asked_elsewhere(api):
    [pipeline] = api.get("/api/v1/pipelines").json()

    assert {each["is_ready"] for each in pipeline["models"]} == {None}
    assert api.get("/readyz").json()["components"] == {
        "database": "ready",
        "spool": "ready",
        "receive": "ready",
    }


def test_an_answer_names_no_server_and_a_stranger_cannot_forge_an_address(api):
    answer = api.get("/api/v1/state", headers={"X-Forwarded-For": "192.0.2.1"})

    assert "server" not in answer.headers
    assert answer.json()["person"] == "local"
