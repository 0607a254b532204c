"""The configuration that the chart writes: what the site says, and what the chart alone knows."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.config import load
from tests.support.chart import EVERY, render, toml_of


@pytest.fixture
def mounted(tmp_path):
    """Write a release's configuration as if it were mounted: with every file that it names."""

    def write(objects):
        text = toml_of(objects)
        for folder in ("/etc/dicomnode", "/srv"):
            text = text.replace(f'"{folder}/', f'"{tmp_path}{folder}/')
        for path in map(Path, re.findall(rf'"({tmp_path}/etc/[^"]+)"', text)):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("postgresql://node@db/node\n")
        _certificate(tmp_path)
        for path in (tmp_path / "etc" / "dicomnode").rglob("*"):
            if path.suffix in {".crt", ".key"}:
                path.write_bytes((tmp_path / f"node{path.suffix}").read_bytes())
        for name in ("models", "manifests"):
            (tmp_path / "srv" / name).mkdir(parents=True, exist_ok=True)
        path = tmp_path / "dicomnode.toml"
        path.write_text(text)
        return path

    return write


def _certificate(folder):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", folder / "node.key", "-out", folder / "node.crt"),
            *("-days", "2", "-subj", "/CN=node"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("values", EVERY)
def test_the_nodes_configuration_has_no_faults(values, mounted):
    path = mounted(render(values))

    done = CliRunner().invoke(app, ["config", "check", "--config", str(path)])

    assert (done.exit_code, done.stderr) == (0, "")


def test_it_holds_what_the_site_says_and_what_the_chart_knows(mounted):
    config = load(mounted(render("distributed")))

    assert config.drain_seconds == 90.5
    assert config.receive.max_instance_bytes == 4_000_000_000
    assert [each.ae_title for each in config.receive.allowed_callers] == [
        "PACS",
        "0042",
        "HELMTEST",
    ]
    assert config.receive.tls is not None
    assert config.console.access.patients == "operators"
    assert config.console.access.asks
    assert config.inference.triton == "demo-dicomnode-triton:8001"
    assert config.database.url == "postgresql://node@db/node"
    condition = config.pipelines["chest-ct"].selection.conditions[0]
    assert condition.regex == '^(B30|"STANDARD"|<x>)$'


AWKWARD = {
    "text": 'quotes " and \\ and \t and ü and <&>',
    "looks_like_a_number": "0042",
    "looks_like_a_truth": "no",
    "whole": 4_000_000_000,
    "fraction": 0.25,
    "negative": -3,
    "truth": False,
    "empty": [],
    "nested": [["a"], ["b", "c"]],
    "of tables": [{"ae title": "A", "hosts": ["x"]}, {}],
    "a.b": {"c d": {"e": 1}, "f": {}},
}


def test_values_reach_the_node_as_they_are():
    found = tomllib.loads(toml_of(render(config__telemetry=AWKWARD)))

    assert found["telemetry"] == AWKWARD
    assert isinstance(found["telemetry"]["whole"], int)


def test_nothing_is_written_for_what_a_site_takes_out():
    table = {"gone": {"ae_title": "A", "destinations": ["x"]}}
    kept = render(config__pipelines=table)
    assert "gone" in tomllib.loads(toml_of(kept))["pipelines"]

    assert "gone" not in toml_of(render(config__pipelines={"gone": None}))


def test_a_changed_configuration_makes_new_pods():
    def checksum(objects):
        (spec,) = (each for (kind, _), each in objects.items() if kind == "StatefulSet")
        return spec["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    assert checksum(render()) == checksum(render(single__resources={}))
    assert checksum(render()) != checksum(render(config__drain_seconds=61))


def test_helms_test_may_verify_and_nothing_else():
    callers = tomllib.loads(toml_of(render()))["receive"]["allowed_callers"]
    without = tomllib.loads(toml_of(render(test__enabled=False)))["receive"]["allowed_callers"]

    assert [each["ae_title"] for each in callers if each.get("verification_only")] == ["HELMTEST"]
    assert without == callers[:1]
