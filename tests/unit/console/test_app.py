"""What the console answers, without a socket."""

from __future__ import annotations

import re

import pytest

from tests.support.console import record_series


def test_it_lives(client):
    answer = client.get("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_it_is_ready_when_every_component_is(client):
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "ready": True,
        "components": {"receive": "ready", "database": "ready", "inference": "ready"},
    }


def test_it_is_not_ready_while_one_component_is_not(client, components):
    components["inference"] = "127.0.0.1:8001 does not answer"

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert answer.json()["ready"] is False
    assert answer.json()["components"]["inference"] == "127.0.0.1:8001 does not answer"


def test_metrics_are_prometheus_text(client):
    answer = client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE process_open_fds gauge" in answer.text


@pytest.mark.usefixtures("job")
def test_series_are_listed_and_chosen(client, database):
    record_series(database, "1.2.4")

    assert [e["series_instance_uid"] for e in client.get("/api/v1/series?state=open").json()] == [
        "1.2.4"
    ]
    [found] = client.get("/api/v1/series", params={"series_instance_uid": "1.2.3"}).json()
    assert (found["state"], found["revision"], found["closed_because"]) == ("closed", 1, "quiet")
    assert found["first_received_at"] == "2026-03-04T05:06:07Z"


def test_jobs_are_listed_and_chosen(client, job):
    assert [each["id"] for each in client.get("/api/v1/jobs").json()] == [job]
    assert client.get("/api/v1/jobs?state=done").json() == []
    assert client.get("/api/v1/jobs", params={"series_instance_uid": "1.2.3"}).json()
    assert client.get("/api/v1/jobs", params={"series_instance_uid": "9"}).json() == []


def test_a_job_is_shown_with_its_deliveries(client, job):
    found = client.get(f"/api/v1/jobs/{job}").json()

    assert (found["state"], found["reason"]) == ("failed", "ModelContractMismatch")
    assert found["seconds"] == {"assemble": 1.25, "segment": 2.5}
    [delivery] = found["deliveries"]
    assert (delivery["destination"], delivery["state"], delivery["attempts"]) == (
        "share",
        "parked",
        8,
    )


def test_an_unknown_job_is_not_found(client):
    assert client.get("/api/v1/jobs/nobody").status_code == 404


@pytest.mark.usefixtures("job")
def test_the_page_shows_components_jobs_and_open_series(client, database, components):
    components["inference"] = "the server is <away>"
    record_series(database, "1.2.77")

    page = client.get("/").text

    for shown in ("1.2.3", "1.2.77", "CT1", "failed", "parked", "3.8", "Not for diagnosis"):
        assert shown in page
    for text in ("wanted <INT16>", "<refused>", "<away>"):
        assert text not in page, "what others wrote is escaped"
    assert "wanted &lt;INT16&gt; &amp; found FP32" in page


def test_the_page_of_a_fresh_node_says_so(client):
    page = client.get("/").text

    assert "No series has been received yet." in page


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/readyz", "/metrics", "/api/v1/jobs", "/nowhere"]
)
def test_every_answer_keeps_browsers_strict(client, path):
    headers = client.get(path).headers

    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("job")
def test_no_page_loads_or_holds_what_the_policy_forbids(client):
    for path in ("/", "/series/1.2.3", "/pipelines", "/quarantine", "/upload", "/api/docs"):
        page = client.get(path).text

        assert set(re.findall(r'(?:src|href|action)="([^"]*)"', page))
        assert not re.findall(r'(?:src|href|action)="(?!/|#)', page), path
        assert not re.search(r"<script>|<style|style=| on[a-z]+=", page), path


@pytest.mark.parametrize("path", ["/", "/api/v1/jobs", "/api/v1/series"])
def test_nothing_can_be_changed(client, path):
    for verb in ("POST", "PUT", "PATCH", "DELETE"):
        assert client.request(verb, path).status_code == 405


def test_the_api_describes_itself(client):
    paths = client.get("/api/openapi.json").json()["paths"]

    assert {"/api/v1/jobs", "/api/v1/jobs/{job_id}", "/api/v1/series"} <= set(paths)
