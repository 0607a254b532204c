"""When certificates expire, as OpenSSL's own reader says it."""

import ssl
import subprocess
from datetime import UTC, datetime

import pytest

from dicomnode.certificates import expires_at
from dicomnode.errors import StateError
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def said_by_openssl(path):
    done = subprocess.run(
        ["openssl", "x509", "-enddate", "-noout", "-in", path],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = ssl.cert_time_to_seconds(done.stdout.strip().removeprefix("notAfter="))
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize("days", [1, 400, 20_000], ids=["soon", "next year", "after 2049"])
def test_the_end_is_the_one_that_openssl_reads(authority, days):
    pair = authority.issue(f"node{days}", days=days)

    assert expires_at(pair.certificate) == said_by_openssl(pair.certificate)


def test_of_a_chain_the_first_certificate_counts(authority, tmp_path):
    own = authority.issue("leaf", days=7)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(own.certificate.read_bytes() + authority.certificate.read_bytes())

    assert expires_at(chain) == said_by_openssl(own.certificate)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nnot base64!\n-----END CERTIFICATE-----\n",
    ],
    ids=["empty", "cut", "garbage"],
)
def test_what_is_no_certificate_is_said_to_be_none(tmp_path, content):
    path = tmp_path / "node.crt"
    path.write_text(content)

    with pytest.raises(StateError, match=r"node\.crt: wanted a certificate"):
        expires_at(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StateError, match="cannot be read: No such file"):
        expires_at(tmp_path / "absent.crt")
