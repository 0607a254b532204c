"""Every command: its help, what it prints, and how it ends."""

from __future__ import annotations

import json
import re
import socket

import pytest
from sqlalchemy import inspect

from dicomnode import __version__
from dicomnode.cli.output import exit_code
from dicomnode.database import open_database, revision_of
from dicomnode.errors import (
    AssociationRejected,
    AssociationUnavailable,
    ConfigError,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
    ManifestInvalid,
    StateError,
)
from tests.support.ct import make_series
from tests.support.pacs import FlakyPacs

# pynetdicom leaves the socket of a connection that was refused to the garbage collector.
NOBODY_LEAKS = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")

COMMANDS = [
    (),
    ("serve",),
    ("demo",),
    ("process",),
    ("send",),
    ("echo",),
    ("series", "list"),
    ("series", "show"),
    ("jobs", "list"),
    ("jobs", "show"),
    ("jobs", "retry"),
    ("jobs", "cancel"),
    ("quarantine", "list"),
    ("quarantine", "show"),
    ("config", "check"),
    ("config", "show"),
    ("config", "schema"),
    ("models", "check"),
    ("conformance",),
]


@pytest.fixture
def pacs():
    with FlakyPacs() as running:
        yield running


@pytest.fixture
def nobody():
    """An address where nothing listens, and nothing else can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"PACS@127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help(run, command):
    ended = run(*command, "--help")

    assert ended.exit_code == 0
    assert " ".join(("Usage: dicomnode", *command)) in " ".join(ended.stdout.split())


def test_version(run):
    assert run("--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("echo",),
        ("echo", "nobody"),
        ("echo", "TOO LONG A TITLE FOR IT@127.0.0.1:104"),
        ("echo", "PACS@127.0.0.1:104", "--from", "BACK\\SLASH"),
        ("send", "absent.dcm", "--to", "PACS@127.0.0.1:104"),
        ("process", "absent", "--out", "out"),
        ("jobs", "list", "--nonsense"),
    ],
    ids=" ".join,
)
def test_wrong_usage_ends_with_2(run, arguments):
    assert run(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(("a: b",)), 78),
        (ManifestInvalid("no name"), 78),
        (InferenceUnavailable("away"), 69),
        (InferenceTimeout("late"), 69),
        (AssociationUnavailable("away"), 69),
        (AssociationRejected("no", transient=False), 1),
        (InferenceRejected("no"), 1),
        (StateError("no"), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_exit_codes(error, code):
    assert exit_code(error) == code


# -- echo and send


def test_echo_of_a_peer(run, pacs):
    ended = run("echo", pacs.address)

    assert ended.exit_code == 0
    assert f"{pacs.address} answered in" in ended.stdout


def test_echo_as_json(run, pacs):
    answer = json.loads(run("echo", pacs.address, "--json").stdout)

    assert answer["address"] == str(pacs.address)
    assert answer["seconds"] > 0


@NOBODY_LEAKS
def test_echo_of_nobody(run, nobody):
    ended = run("echo", nobody, "--timeout", "2")

    assert ended.exit_code == 69
    assert ended.stdout == ""
    assert ended.stderr.strip()


def test_echo_of_a_peer_that_rejects(run, pacs):
    pacs.reject(transient=False)

    ended = run("echo", pacs.address)

    assert ended.exit_code == 1
    assert "reject" in ended.stderr.lower()


def test_send_of_a_folder(run, pacs, tmp_path):
    paths = make_series(tmp_path / "ct")
    (tmp_path / "ct" / "notes.txt").write_text("no DICOM")

    ended = run("send", tmp_path / "ct", "--to", pacs.address, "--from", "CT1")

    assert ended.exit_code == 0
    assert f"{len(paths)} of {len(paths)} accepted by {pacs.address}" in ended.stdout
    assert "notes.txt" in ended.stderr
    received = pacs.wait_for(len(paths))
    assert len({each.sop_instance_uid for each in received}) == len(paths)
    assert {each.calling_ae_title.strip() for each in received} == {"CT1"}


def test_send_as_json_tells_each_instance(run, pacs, tmp_path):
    paths = make_series(tmp_path / "ct")
    pacs.refuse(0xA900, times=1)

    ended = run("send", *paths, "--to", pacs.address, "--json")

    assert ended.exit_code == 1
    outcomes = json.loads(ended.stdout)
    assert sorted(each["path"] for each in outcomes) == sorted(map(str, paths))
    assert [each["accepted"] for each in outcomes].count(False) == 1
    assert {each["status"] for each in outcomes} == {0, 0xA900}


def test_send_of_no_dicom(run, pacs, tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM")

    ended = run("send", tmp_path / "notes.txt", "--to", pacs.address)

    assert ended.exit_code == 1
    assert "no DICOM instance was found" in ended.stderr
    assert pacs.associations == 0


@NOBODY_LEAKS
def test_send_to_nobody(run, nobody, tmp_path):
    ended = run("send", *make_series(tmp_path / "ct"), "--to", nobody, "--timeout", "2")

    assert ended.exit_code == 69


# -- config


def test_config_check_of_a_sound_file(run, config):
    ended = run("config", "check", "--config", config())

    assert ended.exit_code == 0
    assert "no faults; pipelines: chest-ct" in ended.stdout.replace("\n", " ")


def test_config_check_tells_every_fault(run, config):
    path = config(receive={"port": 70000}, console={"prot": 1}, log={"level": "loud"})

    ended = run("config", "check", "--config", path)

    assert ended.exit_code == 78
    for key in ("receive.port", "console.prot: no such key; did you mean 'port'?", "log.level"):
        assert key in ended.stderr


def test_config_check_tells_models_that_are_not_there(run, config):
    path = config(
        **{
            "pipelines.chest": {
                "ae_title": "CHEST",
                "segment": ["liver"],
                "classify": ["lung"],
                "destinations": ["here"],
            },
            "destinations.here": {"kind": "folder", "path": "results"},
        }
    )

    ended = run("config", "check", "--config", path)

    assert ended.exit_code == 78
    assert "pipelines.chest.segment.0: no model is called 'liver'" in ended.stderr
    assert "pipelines.chest.classify.0: wanted a model that can classify" in ended.stderr


def test_config_of_a_file_that_is_not_there(run, tmp_path):
    ended = run("config", "show", "--config", tmp_path / "absent.toml")

    assert ended.exit_code == 78
    assert "absent.toml" in ended.stderr


def test_config_show_gives_all_values_defaults_included(run, config):
    shown = json.loads(run("config", "show", "--config", config(receive={"port": 104})).stdout)

    assert shown["receive"]["port"] == 104
    assert shown["receive"]["max_associations"] == 16
    assert shown["pipelines"]["chest-ct"]["completion"]["quiet_seconds"] == 5.0


def test_config_show_masks_secrets(run, config):
    path = config(database={"url": "postgresql://node:hush9@sesame@db.example.org/dicomnode"})

    ended = run("config", "show", "--config", path)

    assert ended.exit_code == 0
    assert "hush9" not in ended.stdout
    assert "sesame" not in ended.stdout
    assert "db.example.org/dicomnode" in json.loads(ended.stdout)["database"]["url"]


def test_config_schema_describes_every_section(run):
    schema = json.loads(run("config", "schema").stdout)

    assert {"receive", "console", "pipelines", "destinations"} <= set(schema["properties"])
    assert schema["additionalProperties"] is False


# -- records


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


def test_models_of_a_server_that_is_away(run, config, nobody):
    path = config(inference={"triton": nobody.removeprefix("PACS@")})

    ended = run("models", "check", "--config", path)

    assert ended.exit_code == 69
