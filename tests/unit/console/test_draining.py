"""While a node drains, probes and scrapers are answered and nobody else."""

import pytest
from fastapi import FastAPI

from dicomnode.console.draining import UntilDrain
from dicomnode.console.health import build_health_app
from dicomnode.console.probes import Probes
from tests.support.console import Client


@pytest.fixture
def drain():
    """Ask an application before and after its drain has begun."""
    whole = FastAPI()
    whole.add_api_route("/", lambda: "page")
    state = {"is_draining": False}
    probes = Probes(readiness=lambda: {"receive": "the node is draining"})
    app = UntilDrain(whole, build_health_app(probes), is_draining=lambda: state["is_draining"])

    def begin():
        state["is_draining"] = True

    return Client(app), begin


def test_before_it_everything_is_served(drain):
    client, _ = drain

    assert client.get("/").json() == "page"


def test_from_then_on_probes_alone_are_answered(drain):
    client, begin = drain
    begin()

    assert client.get("/healthz").status_code == 200
    assert client.get("/metrics").status_code == 200
    assert client.get("/readyz").status_code == 503
    for path in ("/", "/api/v1/jobs"):
        answer = client.get(path)
        assert (answer.status_code, answer.text) == (503, "the node is draining\n")
