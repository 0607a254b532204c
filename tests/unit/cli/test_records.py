"""`series`, `jobs`, `quarantine` and `database`: what they show of a node's records."""

from __future__ import annotations

import json
import re

import pytest
from sqlalchemy import inspect

from dicomnode.database import open_database, revision_of


def test_series_are_listed(run, prepared):
    ended = run("series", "list", "--config", prepared.config)

    assert ended.exit_code == 0
    assert prepared.series in ended.stdout
    assert "CT1" in ended.stdout


def test_series_as_json(run, prepared):
    [series] = json.loads(run("series", "list", "--config", prepared.config, "--json").stdout)

    assert series["series_instance_uid"] == prepared.series
    assert series["first_received_at"] == "2026-03-04T05:06:07+00:00"
    assert (
        run("series", "list", "--config", prepared.config, "--state", "open", "--json").stdout
        == "[]\n"
    )


def test_a_series_is_shown_with_what_became_of_it(run, prepared):
    ended = run("series", "show", prepared.series, "--config", prepared.config)

    assert ended.exit_code == 0
    said = " ".join(ended.stdout.split())
    assert "closed because: quiet" in said
    assert "revision 1: failed: wanted [int16], found [/FP32]" in said
    assert "to pacs: parked, attempt 8 (no answer)" in said


def test_a_series_as_json_has_jobs_and_deliveries(run, prepared):
    shown = json.loads(
        run("series", "show", prepared.series, "--config", prepared.config, "--json").stdout
    )

    assert shown["jobs"][0]["id"] == prepared.job
    assert shown["jobs"][0]["deliveries"][0]["state"] == "parked"


def test_jobs_are_listed_by_an_id_that_can_be_copied(run, prepared):
    ended = run("jobs", "list", "--config", prepared.config)

    assert ended.exit_code == 0
    assert prepared.job in ended.stdout
    assert "wanted [int16], found [/FP32]" in ended.stdout


def test_jobs_as_json(run, prepared):
    [job] = json.loads(run("jobs", "list", "--config", prepared.config, "--json").stdout)

    assert (job["id"], job["state"]) == (prepared.job, "failed")


def test_a_job_is_shown(run, prepared):
    ended = run("jobs", "show", prepared.job, "--config", prepared.config)

    assert ended.exit_code == 0
    said = " ".join(ended.stdout.split())
    for part in (
        prepared.job,
        "failed: wanted [int16], found [/FP32]",
        "assemble: 1.25 s",
        "sr.dcm: outbox/x/sr.dcm",
        "to pacs: parked, attempt 8, no answer",
    ):
        assert part in said


def test_a_job_as_json(run, prepared):
    shown = json.loads(
        run("jobs", "show", prepared.job, "--config", prepared.config, "--json").stdout
    )

    assert shown["deliveries"][0]["words"] == "no answer"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("jobs", "show", "nobody"), "no job nobody"),
        (("jobs", "retry", "nobody"), "no job nobody"),
        (("jobs", "cancel", "nobody"), "no job nobody"),
        (("series", "show", "1.2.3.4"), "no series 1.2.3.4 was received"),
        (("quarantine", "show", "0" * 32), "0" * 32),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_what_is_unknown_is_told(run, prepared, arguments, words):
    ended = run(*arguments, "--config", prepared.config)

    assert ended.exit_code == 1
    assert words in ended.stderr


def test_a_job_that_ended_cannot_be_cancelled(run, prepared):
    ended = run("jobs", "cancel", prepared.job, "--config", prepared.config)

    assert ended.exit_code == 1
    assert "is failed already" in " ".join(ended.stderr.split())


@pytest.mark.parametrize("command", ["series", "jobs"])
def test_records_of_a_node_that_never_ran_are_refused_and_not_made(run, config, command, tmp_path):
    path = config()
    ended = run(command, "list", "--config", path)
    assert ended.exit_code == 1
    assert "no node has run with" in ended.stderr
    (tmp_path / "data").mkdir()

    ended = run(command, "list", "--config", path)

    assert ended.exit_code == 1
    assert list((tmp_path / "data").iterdir()) == []


def test_a_database_is_brought_up_to_date_before_any_node_has_run(run, config, tmp_path):
    ended = run("database", "upgrade", "--config", config(), "--json")

    assert ended.exit_code == 0
    told = json.loads(ended.stdout)
    database = open_database("sqlite", data_dir=tmp_path / "data")
    assert revision_of(database) == told["revision"]
    assert re.fullmatch(r"\d{4}", told["revision"])
    tables = inspect(database.engine).get_table_names()
    database.close()
    # Ours, and the engine's.
    assert {"series", "job", "workflow_status"} <= set(tables)


def test_a_database_of_a_later_version_is_left_alone(run, config, tmp_path):
    run("database", "upgrade", "--config", config())
    database = open_database("sqlite", data_dir=tmp_path / "data")
    with database.begin() as transaction:
        transaction.exec_driver_sql("update dicomnode_version set version_num = 'later'")
    database.close()

    ended = run("database", "upgrade", "--config", config())

    assert ended.exit_code == 1
    assert "later version" in ended.stderr


def test_quarantine_is_listed_and_shown(run, prepared):
    listed = run("quarantine", "list", "--config", prepared.config)
    shown = run("quarantine", "show", prepared.quarantined, "--config", prepared.config)
    as_json = run("quarantine", "show", prepared.quarantined, "--config", prepared.config, "--json")

    assert prepared.quarantined in listed.stdout
    assert "the data set cannot be read" in " ".join(listed.stdout.split())
    assert "the data set cannot be read" in shown.stdout
    assert "calling_ae_title: CT1" in shown.stdout
    assert json.loads(as_json.stdout)["size_bytes"] == len(b"no DICOM")


def test_quarantine_of_a_node_that_never_ran_is_not_made(run, config, tmp_path):
    ended = run("quarantine", "list", "--config", config())

    assert ended.exit_code == 1
    assert not (tmp_path / "data").exists()
