"""``dicomnode received``: what was not kept can be asked afterwards."""

import json
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

from dicomnode.cli.received import app
from dicomnode.database import open_database
from dicomnode.database.commitment_rows import add_commitment
from dicomnode.database.note_rows import add_note

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
CT = "1.2.840.10008.5.1.4.1.1.2"


@pytest.fixture
def config(tmp_path):
    file = tmp_path / "dicomnode.toml"
    file.write_text(f"data_dir = {json.dumps(str(tmp_path / 'data'))}\n")
    database = open_database("sqlite", data_dir=tmp_path / "data")
    with database.begin() as transaction:
        add_note(
            transaction,
            "chest",
            kind="kept-first",
            sop_class_uid=CT,
            sop_instance_uid="1.2.3.4",
            digest="a" * 64,
            calling_ae_title="CT1",
            at=AT,
        )
        add_commitment(
            transaction,
            pipeline="chest",
            calling_ae_title="CT1",
            called_ae_title="CHEST",
            transaction_uid="1.2.3.9",
            instances=[(CT, "1.2.3.4")],
            due_at=AT,
            at=AT,
        )
    database.close()
    return file


@pytest.mark.parametrize(
    ("command", "words"),
    [("notes", ["1.2.3.4", "kept-first", "CT1"]), ("commitments", ["1.2.3.9", "pending", "CT1"])],
)
def test_both_lists_name_what_matters(config, command, words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, [command, "--config", str(config)])

    assert result.exit_code == 0, result.output
    assert all(each in result.output for each in words)


@pytest.mark.parametrize(
    ("command", "fact"), [("notes", ("times", 1)), ("commitments", ("called_ae_title", "CHEST"))]
)
def test_both_are_facts_for_machines_too(config, command, fact):
    result = CliRunner().invoke(app, [command, "--config", str(config), "--json"])

    (row,) = json.loads(result.output)
    assert row[fact[0]] == fact[1]
