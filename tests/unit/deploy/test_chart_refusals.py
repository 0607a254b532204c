"""What the chart refuses, in which words: what is no value, and what contradicts itself."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from tests.support.chart import CHART, refused


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"config__receive__allowed_callers": []}, "config.receive.allowed_callers: Array must"),
        ({"replicas": 3}, "Additional property replicas is not allowed"),
        ({"config__recieve": {}}, "config: Additional property recieve is not allowed"),
        ({"mode": "cluster"}, 'mode must be one of the following: "single", "distributed"'),
        ({"receive__service__port": "104"}, "receive.service.port: Invalid type"),
        ({"receive__service__port": 0}, "receive.service.port: Must be greater"),
        ({"config__pipelines": {"a": {"ae_title": "A"}}}, "destinations is required"),
        ({"triton__mode": "sometimes"}, "triton.mode must be one of"),
        ({"triton__address": "triton"}, "triton.address: Does not match pattern"),
        ({"console__ingress__enabled": True}, "console.ingress.host: String length must"),
        ({"image__digest": "latest"}, "image.digest: Does not match pattern"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_the_schema_refuses_what_is_no_value(changes, sentence):
    assert sentence in refused(**changes)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"mode": "distributed"},
            "database.secretName: mode distributed wants a Secret with the URL of a PostgreSQL",
        ),
        (
            {"config__receive__port": 104},
            "config.receive.port: is the chart's own; set receive.service.port",
        ),
        (
            {"config__inference": {"triton": "x:1"}},
            "config.inference.triton: is the chart's own; set triton.mode",
        ),
        (
            {"config__storage": {"bucket": "b"}},
            "database.secretName: a bucket wants a Secret with the URL of a PostgreSQL database",
        ),
        ({"triton__mode": "external"}, "triton.address: mode external wants HOST:PORT"),
        ({"triton__address": "x:8001"}, "triton.address: is for triton.mode external"),
        (
            {"triton__models__s3__url": "s3://bucket"},
            "triton.models.s3: is for triton.mode deployment, found embedded",
        ),
        (
            {"console__ingress": {"enabled": True, "host": "x.example"}},
            "console.ingress.enabled: nobody would be asked who they are",
        ),
        (
            {"config__receive__users": [{"name": "a", "password_file": "/x"}]},
            "test.enabled: config.receive.users wants a name and a password of everybody",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_values_that_want_each_other_are_refused_in_words(changes, sentence):
    assert sentence in refused(**changes)


def test_all_faults_are_told_at_once():
    told = refused(mode="distributed", triton__mode="external", config__receive__port=104)

    assert {"database.secretName", "triton.address", "config.receive.port"} <= set(
        re.findall(r"^([\w.]+):", told, re.MULTILINE)
    )


def test_the_schema_knows_every_value_and_no_other():
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    assert _unknown(values, schema, schema) == []
    assert schema["properties"].keys() - values.keys() == {"global"}


def _unknown(values, schema, whole, path=""):
    if "$ref" in schema:
        schema = whole["definitions"][schema["$ref"].rpartition("/")[2]]
    found = []
    for name, value in values.items():
        known = schema.get("properties", {})
        if name in known and isinstance(value, dict):
            found += _unknown(value, known[name], whole, f"{path}{name}.")
        elif name not in known and schema.get("additionalProperties") is False:
            found.append(f"{path}{name}")
    return found
