"""The REST API: what programs are told, and what they can do."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from dicomnode.console.app import build_app
from dicomnode.database.series_rows import hold_series
from tests.support.console import (
    JOB,
    record_job,
    record_series,
    store_files,
)
from tests.support.ct import make_series


@pytest.mark.usefixtures("job")
def test_the_overview_joins_series_jobs_and_deliveries(client):
    [found] = client.get("/api/v1/overview").json()

    assert (found["state"], found["series"]["series_instance_uid"]) == ("failed", "1.2.3")
    assert found["job"]["id"] == JOB
    assert [each["state"] for each in found["deliveries"]] == ["parked"]
    assert found["sop_class_uid"] == "1.2.840.10008.5.1.4.1.1.2"


@pytest.mark.usefixtures("job")
def test_a_series_is_shown_with_all_that_is_on_record(client):
    [found] = client.get("/api/v1/series/1.2.3").json()

    assert found["contents"]["instance_count"] == 1
    [job] = found["jobs"]
    [delivery] = job["deliveries"]
    [attempt] = delivery["history"]
    assert attempt["objects"][0]["status"] == 0xA900


def test_an_act_on_what_is_not_there_is_a_problem(client):
    for path in ("/api/v1/jobs/nobody/retry", "/api/v1/destinations/none/test"):
        answer = client.post(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["title"] == "Not Found"


def test_an_act_that_the_state_does_not_admit_is_a_conflict(client, database):
    record_job(database, state="done")

    problem = client.post(f"/api/v1/jobs/{JOB}/cancel").json()

    assert (problem["status"], problem["detail"]) == (409, f"{JOB} is done already")


def test_a_held_series_proceeds(client, database):
    record_series(database)
    with database.begin() as transaction:
        hold_series(transaction, "chest", "1.2.3", because="deadline")

    assert client.post("/api/v1/series/1.2.3/proceed").status_code == 200
    assert client.post("/api/v1/series/1.2.3/proceed").status_code == 409
    assert client.post("/api/v1/series/9/proceed").status_code == 404


def test_a_parameter_that_is_wrong_is_named_and_not_repeated(client):
    answer = client.get("/api/v1/series/MARKED-4711")

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["where"] == "path.series_instance_uid"
    assert "4711" not in answer.text


def test_the_documentation_names_every_operation(client):
    page = client.get("/api/docs").text
    schema = client.get("/api/openapi.json").json()

    for path in schema["paths"]:
        assert f"<code>{path}</code>" in page
    for shape in schema["components"]["schemas"]:
        assert f"<code>{shape}</code>" in page


# -- against the API's own description, with whatever hypothesis comes up with

_KEPT = [status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture
def described(parts, tmp_path):
    """The schema of a console with a series, a job, and an object in quarantine."""
    record_job(parts.database, state="failed")
    store_files(parts, make_series(tmp_path / "ct"))
    parts.quarantine.keep(b"odd", reason="cannot be read", facts={"pipeline": "chest"})
    return schemathesis.openapi.from_asgi("/api/openapi.json", build_app(parts))


def try_operation(operation, headers):
    """Ask for whatever the description admits, and hold the answers against it."""

    @settings(
        max_examples=10,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def keeps_what_it_describes(case):
        answer = case.call(headers=headers)
        assert answer.status_code < 500, answer.text
        case.validate_response(answer, checks=_KEPT)

    keeps_what_it_describes()


def test_the_api_keeps_what_it_describes(described):
    tried = []
    for result in described.get_all_operations():
        operation = result.ok()
        try_operation(operation, {"Host": "127.0.0.1"})
        tried.append(f"{operation.method.upper()} {operation.path}")

    assert "POST /api/v1/jobs/{job_id}/{action}" in tried
    assert len(tried) >= 18
