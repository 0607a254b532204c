"""What the console answers, without a socket."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest

from dicomnode.database.job_rows import create_job, set_delivery, set_job
from dicomnode.database.series_rows import close_series, record_instance
from dicomnode.model.instance import InstanceRef
from tests.support.console import make_client, make_config, make_parts

JOB = "1.2.3:0123456789abcdef:chest-00000001"


@pytest.fixture
def components():
    return {"receive": None, "database": None, "inference": None}


@pytest.fixture
def parts(tmp_path, components):
    with ExitStack() as stack:
        yield make_parts(make_config(tmp_path), stack, components=components)


@pytest.fixture
def database(parts):
    return parts.database


@pytest.fixture
def client(parts):
    return make_client(parts)


def record_series(database, series="1.2.3", *, calling_ae_title="CT1"):
    with database.begin() as transaction:
        record_instance(
            transaction,
            "chest",
            InstanceRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                sop_instance_uid=f"{series}.1",
                study_instance_uid="1.2",
                series_instance_uid=series,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest="a" * 64,
                size_bytes=1,
                key=f"instances/chest/{series}/1.dcm",
            ),
            calling_ae_title=calling_ae_title,
            at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        )


@pytest.fixture
def job(database):
    """A closed series with a failed job and a parked delivery."""
    record_series(database)
    with database.begin() as transaction:
        revision = close_series(transaction, "chest", "1.2.3", because="quiet")
        create_job(transaction, JOB, revision)
        set_job(
            transaction,
            JOB,
            state="failed",
            reason="ModelContractMismatch",
            sentence="wanted <INT16> & found FP32",
            seconds={"assemble": 1.25, "segment": 2.5},
        )
        set_delivery(
            transaction, JOB, "pacs", state="parked", attempts=8, words="seg.dcm: 0xA900 <refused>"
        )
    return JOB


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
        "pacs",
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
