"""``dicomnode send`` and ``echo`` with TLS, against DCMTK's storescp and our own SCP."""

from __future__ import annotations

import gc

import pytest
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.config import TlsServerConfig
from tests.integration.test_tls import storescp
from tests.support.certificates import Authority
from tests.support.ct import make_series
from tests.support.scp import running_receiver

# pynetdicom leaves the socket of a connection that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _leave_no_socket():
    """Have it collected here, not in the middle of another module's test."""
    yield
    gc.collect()


def run_command(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments], catch_exceptions=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def node(authority):
    return authority.issue("node")


@pytest.fixture(scope="module")
def guarded(authority, tmp_path_factory):
    """A pair whose key is encrypted, and the file with its passphrase."""
    passphrase = tmp_path_factory.mktemp("secret") / "pass"
    passphrase.write_text("open sesame\n")
    return authority.issue("client", passphrase="open sesame"), passphrase  # noqa: S106


@pytest.fixture
def options(authority, guarded):
    pair, passphrase = guarded
    return (
        *("--ca", authority.certificate, "--cert", pair.certificate, "--key", pair.key),
        *("--key-passphrase-file", passphrase),
    )


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return make_series(tmp_path_factory.mktemp("ct"), shape_kji=(3, 7, 5))


def test_a_series_is_sent_to_dcmtk(tmp_path, series, authority, node, options):
    scp = ("+tls", node.key, node.certificate, "+cf", authority.certificate)
    with storescp(tmp_path / "in", *scp) as to:
        sent = run_command("send", *series, "--to", to, *options)
        plain = run_command("send", *series, "--to", to, "--timeout", 2)

    assert sent.exit_code == 0, sent.stderr
    assert sent.stdout == f"3 of 3 accepted by {to}\n"
    assert len(list((tmp_path / "in").iterdir())) == len(series)
    assert plain.exit_code == 69, "in the clear there is no association"


@pytest.mark.parametrize("profile", ["bcp195", "bcp195-modified", "tls13"])
def test_our_own_receiver_answers(tmp_path, authority, node, options, profile):
    tls = TlsServerConfig(
        certificate=node.certificate, key=node.key, authorities=authority.certificate
    )
    with running_receiver(tmp_path, tls=tls) as receiver:
        to = f"CHEST@127.0.0.1:{receiver.port}"
        answered = run_command("echo", to, *options, "--tls-profile", profile)
        nameless = run_command("echo", to, "--ca", authority.certificate)

    assert answered.exit_code == 0, answered.stderr
    assert answered.stdout.startswith(f"{to} answered in ")
    assert nameless.exit_code == 69, "the receiver wants a certificate"
    assert "no TLS connection with" in nameless.stderr


def test_a_certificate_must_name_the_host_unless_that_is_waived(tmp_path, authority, options):
    elsewhere = authority.issue("elsewhere", host="DNS:elsewhere.example")
    scp = ("+tls", elsewhere.key, elsewhere.certificate, "+cf", authority.certificate)
    with storescp(tmp_path / "in", *scp) as to:
        checked = run_command("echo", to, *options)
        waived = run_command("echo", to, *options, "--no-check-host")

    assert checked.exit_code == 69
    assert "IP address mismatch" in checked.stderr
    assert waived.exit_code == 0, waived.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--cert", "a.crt", "--key", "a.key"), "--cert wants --ca"),
        (("--tls-profile", "tls13"), "--tls-profile wants --ca"),
        (("--no-check-host",), "--no-check-host wants --ca"),
        (("--ca", "ca.crt", "--cert", "a.crt"), "--cert and --key are wanted together"),
        (("--ca", "ca.crt", "--key-passphrase-file", "p"), "wants --cert and --key"),
    ],
)
def test_nobody_who_asks_for_tls_speaks_in_clear(given, words):
    ended = run_command("echo", "CHEST@127.0.0.1:1", *given)

    assert ended.exit_code == 2
    assert words in " ".join(ended.stderr.replace("│", " ").split())


def test_a_file_that_cannot_be_read_is_a_configuration_fault(tmp_path):
    ended = run_command("echo", "CHEST@127.0.0.1:1", "--ca", tmp_path / "absent.crt")

    assert ended.exit_code == 78
    assert "absent.crt cannot be read" in ended.stderr
