"""The pages that are made from the code: up to date, complete, in the standard's order."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode.config import load
from dicomnode.config.reference import sections
from dicomnode.conformance.statement import write_statement
from dicomnode.conformance.statuses import answered_to_action, failure_reasons
from dicomnode.errors import NodeError
from dicomnode.standard.status import ActionStatus, FailureReason
from tests.support.statement import Statement

ROOT = Path(__file__).parents[2]

ANNEX_N = (
    "1 Overview",
    "1.1 Content and Transfer",
    "1.1.1 Structured Reporting Root Template IDs",
    "1.2 DIMSE Services",
    "1.3 DICOM Web Services",
    "1.4 Media Services",
    "1.5 Real-Time Video Service",
    "1.6 De-Identification Profiles",
    "1.7 Specific Character Sets",
    "2 Table of Contents",
    "3 Introduction",
    "3.1 Revision History",
    "3.2 Audience",
    "3.3 Remarks",
    "3.4 Terms and Definitions",
    "3.5 Abbreviations",
    "3.6 References",
    "4 Implementation Model",
    "4.1 Application Entities and Data Flow",
    "5 Service and Interoperability Description",
    "5.1 Mapping of Services to Application Entities",
    "5.2 DIMSE Services",
    "5.2.5 Storage Service",
    "5.2.5.1 SCU of the Storage SOP Classes",
    "5.2.5.2 SCP of the Storage SOP Classes",
    "5.2.6 Storage Commitment Service",
    "5.2.7 Query/Retrieve Service",
    "5.2.8 Print Management Service",
    "5.3 DICOM Web Services",
    "5.4 Media Services",
    "5.5 Real-Time Video Service",
    "5.6 Cross-Service Considerations",
    "5.7 Specific Character Sets",
    "6 Configuration",
    "6.1 General Configuration Parameters",
    "6.2 Configuration of DIMSE Services",
    "6.3 Configuration of DICOM Web Services",
    "6.4 Configuration of Media Storage Service",
    "6.5 Configuration of Real-Time Video Service",
    "6.6 Configuration of Audit Trail - Syslog",
    "7 Network and Media Communication Details",
    "7.1 General",
    "7.1.1 General Association Parameters",
    "7.2 Specifications",
    "7.3 Status Codes",
    "7.3.1 General Communication and Failure Behavior",
    "7.3.2 DIMSE Services",
    "7.3.3 DICOM Web Services",
    "8 Security",
    "8.1 Introduction",
    "8.2 External Network Requirements",
    "8.3 TCP Port Configuration",
    "8.4 DICOM Security Profiles Support",
    "8.5 User Identity Negotiation Support",
    "8.6 Web Services Security Features",
    "8.7 Other Security Features",
    "A.A Information Object Definitions",
    "A.B Structured Report Content Encoding",
    "A.C Security Details",
    "A.D Mapping of Attributes",
    "A.E Code Set Usage",
)
"""Sections of the template, PS3.2 Annex N, that every statement has."""


def test_the_pages_are_what_the_code_says():
    environment = {**os.environ, "DICOMNODE_RECEIVE__PORT": "104", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "reference.py", "--check"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment,  # whoever runs it may have a configuration of their own
    )

    assert done.returncode == 0, done.stderr


def test_every_key_of_the_configuration_is_explained():
    keys = [(section.path, key) for section in sections() for key in section.keys]

    assert [(path, key.name) for path, key in keys if not key.description] == []
    assert len(keys) > 150


def test_every_error_says_what_to_do():
    def tree(kind):
        yield kind
        for child in kind.__subclasses__():
            yield from tree(child)

    kinds = list(tree(NodeError))

    advice = [kind.__dict__.get("advice", "") for kind in kinds]
    assert all(each.endswith(".") for each in advice)
    assert len(set(advice)) == len(kinds)


def test_the_statement_follows_the_template():
    statement = Statement(write_statement(load(ROOT / "config" / "dicomnode.toml")))

    found = [each.removesuffix(" - N/A") for each in statement.headings()]
    assert [each for each in found if each in ANNEX_N] == list(ANNEX_N)


def test_all_of_our_statuses_and_reasons_are_stated():
    assert [each[0] for each in answered_to_action()] == [f"0x{each:04X}" for each in ActionStatus]
    assert [each[0] for each in failure_reasons()] == [f"0x{each:04X}" for each in FailureReason]


TLS = """
[receive.tls]
profile = "{profile}"
certificate = "node.crt"
key = "node.key"
authorities = "ca.crt"
[pipelines.chest]
ae_title = "CHEST"
destinations = ["web", "pacs", "sender"]
[destinations.web]
kind = "dicomweb"
url = "https://archive.example/dicom-web"
headers_file = "secret-headers"
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "pacs.example"
port = 2762
[destinations.pacs.tls]
authorities = "ca.crt"
authentication = "server"
[[receive.allowed_callers]]
ae_title = "CT1"
hosts = ["192.0.2.64/27"]
return_to = "CT1@192.0.2.64:104"
[[receive.users]]
name = "somebody"
password_file = "secret-password"
"""


@pytest.fixture
def full(tmp_path):
    """The statement of a configuration that has nearly everything."""
    path = tmp_path / "dicomnode.toml"
    path.write_text(TLS.format(profile="bcp195-modified"), encoding="utf-8")
    return Statement(write_statement(load(path)))


def test_tls_is_stated_for_each_connection(full):
    rows = full.table("8.4.2 Secure Transport Connection Profiles", "connection")

    suites = (
        "ECDHE-ECDSA-AES256-GCM-SHA384, ECDHE-RSA-AES256-GCM-SHA384, "
        "ECDHE-ECDSA-CHACHA20-POLY1305, ECDHE-RSA-CHACHA20-POLY1305"
    )
    assert rows[0] == {
        "connection": "all that peers open",
        "profile": "bcp195-modified",
        "TLS from": "1.2",
        "suites of TLS 1.2": suites,
        "certificates": "both sides",
    }
    assert [(row["connection"], row["certificates"]) for row in rows[1:]] == [
        ("to destination pacs", "the acceptor's only")
    ]


def test_who_may_call_and_where_results_go_is_stated(full):
    acceptance = full.section("7.2.1.4 Association Acceptance by CHEST")
    opened = full.table("7.2.1.3 Association Initiation by CHEST", "activity")
    web = full.table("5.3 DICOM Web Services", "destination")

    assert "CT1 from 192.0.2.64/27" in acceptance
    assert [(row["peer"], row["called"], row["TLS"]) for row in opened] == [
        ("pacs", "PACS@pacs.example:2762", "bcp195"),
        ("sender", "return_to of the sender", "no"),
    ]
    assert [(row["destination"], row["authentication"]) for row in web] == [
        ("web", "headers of a file")
    ]


def test_no_user_is_named(full):
    assert "somebody" not in full.text
    assert "1 known" in full.section("7.1.1 General Association Parameters")
