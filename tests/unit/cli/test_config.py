"""`config`: faults, values, secrets, the schema."""

from __future__ import annotations

import json


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
