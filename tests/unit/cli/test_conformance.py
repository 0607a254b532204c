"""``dicomnode conformance``: Markdown for people, JSON for programs, faults as exits."""

from __future__ import annotations

import json

DESTINATION = {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}


def test_the_statement_is_printed(run):
    ended = run("conformance")

    assert ended.exit_code == 0
    assert ended.stdout.startswith("# dicomnode: DICOM Conformance Statement\n")
    assert "| DICOMNODE | chest-ct |" in ended.stdout


def test_programs_get_the_contexts(run, config):
    path = config(
        **{
            "pipelines.chest": {"ae_title": "CHEST", "destinations": ["pacs"]},
            "destinations.pacs": DESTINATION,
        }
    )
    ended = run("conformance", "--config", path, "--json")

    told = json.loads(ended.stdout)
    (entity,) = told["application_entities"]
    stored = [each["abstract_syntax"] for each in entity["accepts"] if each["is_stored"]]
    assert entity["ae_title"] == "CHEST"
    assert stored == [
        "1.2.840.10008.5.1.4.1.1.2",
        "1.2.840.10008.5.1.4.1.1.2.1",
        "1.2.840.10008.5.1.4.1.1.2.2",
    ]
    assert [each["address"] for each in told["initiates"]] == ["PACS@127.0.0.1:104"]


def test_a_model_that_is_not_there_is_a_configuration_fault(run, config):
    path = config(
        **{
            "pipelines.chest": {"ae_title": "CHEST", "destinations": ["pacs"], "segment": ["none"]},
            "destinations.pacs": DESTINATION,
        }
    )
    ended = run("conformance", "--config", path)

    assert ended.exit_code == 78
    assert "pipelines.chest.segment.0: no model is called 'none'" in ended.stderr
