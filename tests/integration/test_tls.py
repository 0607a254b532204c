"""TLS and user identity in both directions, against DCMTK's storescu and storescp."""

from __future__ import annotations

import socket
import ssl
import subprocess
import time
from contextlib import contextmanager, nullcontext

import pytest
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from dicomnode.config import TlsClientConfig, TlsServerConfig, User
from dicomnode.errors import AssociationUnavailable, ConfigError
from dicomnode.send.store_scu import echo, send_instances
from dicomnode.standard.ae import AEAddress
from tests.support.certificates import Authority
from tests.support.ct import make_series
from tests.support.node import dcmtk, wait_until
from tests.support.scp import running_receiver

_DCMTK_PROFILES = ("+py", "+px", "+pz")
"""BCP 195 non-downgrading, plain and extended; only the first two have TLS 1.3."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pairs(authority, tmp_path_factory):
    other = Authority(tmp_path_factory.mktemp("other-ca"), "other-ca")
    return {
        "node": authority.issue("node"),
        "client": authority.issue("client"),
        "rogue": other.issue("rogue"),
        "elsewhere": authority.issue("elsewhere", host="DNS:elsewhere.example"),
        "expired": authority.issue("expired", days=-1),
    }


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return make_series(tmp_path_factory.mktemp("ct"), shape_kji=(3, 7, 5))


@pytest.fixture
def tls(authority, pairs):
    return TlsServerConfig(
        certificate=pairs["node"].certificate,
        key=pairs["node"].key,
        authorities=authority.certificate,
    )


def storescu(receiver, series, *options, called="CHEST"):
    return subprocess.run(
        [
            *(dcmtk("storescu"), "-v", "-R", "-ta", "5", *map(str, options)),
            *("-aec", called, "127.0.0.1", str(receiver.port), *map(str, series)),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def dcmtk_tls(authority, pairs):
    def options(who):
        pair = pairs[who]
        return ("+tls", pair.key, pair.certificate, "+cf", authority.certificate)

    return options


def test_dcmtk_stores_with_a_certificate_of_the_authority(tmp_path, tls, series, dcmtk_tls):
    with running_receiver(tmp_path, tls=tls) as receiver:
        result = storescu(receiver, series, *dcmtk_tls("client"))

        assert result.returncode == 0, result.stderr
        assert len(receiver.sink.refs()) == len(series)


@pytest.mark.parametrize(
    ("profile", "theirs"),
    [
        *((ours, theirs) for ours in ("bcp195", "bcp195-modified") for theirs in _DCMTK_PROFILES),
        ("tls13", "+py"),
    ],
)
def test_dcmtk_s_profiles_and_ours_agree(tmp_path, tls, series, dcmtk_tls, profile, theirs):
    ours = tls.model_copy(update={"profile": profile})
    with running_receiver(tmp_path, tls=ours) as receiver:
        result = storescu(receiver, series[:1], *dcmtk_tls("client"), theirs)

        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "options",
    [
        lambda tls: tls("rogue"),
        lambda tls: tls("expired"),
        lambda _: ("+tla", "-ic"),
        lambda _: (),
    ],
    ids=["other-authority", "expired", "no-certificate", "in-the-clear"],
)
def test_other_peers_are_refused_and_the_node_serves_on(
    tmp_path, tls, series, dcmtk_tls, options, capsys
):
    with running_receiver(tmp_path, tls=tls, acse_timeout_seconds=2.0) as receiver:
        refused = storescu(receiver, series, *options(dcmtk_tls))

        assert refused.returncode != 0
        assert receiver.sink.events == []
        assert storescu(receiver, series, *dcmtk_tls("client")).returncode == 0
    assert "tls_handshake_failed" in capsys.readouterr().out


def test_a_revoked_certificate_is_refused_from_the_next_connection_on(tmp_path, series, capsys):
    authority = Authority(tmp_path / "ca")
    pair, client = authority.issue("node"), authority.issue("client")
    lists = authority.revoke()
    tls = TlsServerConfig(
        certificate=pair.certificate,
        key=pair.key,
        authorities=authority.certificate,
        revocation_lists=lists,
    )
    options = ("+tls", client.key, client.certificate, "+cf", authority.certificate)
    with running_receiver(tmp_path, tls=tls) as receiver:
        assert storescu(receiver, series, *options).returncode == 0
        assert authority.revoke(client) == lists
        assert storescu(receiver, series, *options).returncode != 0
    assert "the certificate is not accepted: certificate revoked" in capsys.readouterr().out


def test_a_server_that_asks_for_no_certificate_takes_those_without(tmp_path, tls, series):
    ours = tls.model_copy(update={"authentication": "server"})
    with running_receiver(tmp_path, tls=ours) as receiver:
        result = storescu(receiver, series, "+tla", "-ic")

        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    "version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2]
)
def test_older_versions_are_not_negotiated(tmp_path, tls, pairs, authority, version):
    ours = tls.model_copy(update={"profile": "tls13"} if version.name == "TLSv1_2" else {})
    with running_receiver(tmp_path, tls=ours) as receiver:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(authority.certificate)
        context.load_cert_chain(pairs["client"].certificate, pairs["client"].key)
        context.set_ciphers("ALL:@SECLEVEL=0")
        with (
            pytest.warns(DeprecationWarning, match="deprecated")
            if version < ssl.TLSVersion.TLSv1_2
            else nullcontext()
        ):
            context.minimum_version = context.maximum_version = version

        with (
            socket.create_connection(("127.0.0.1", receiver.port), timeout=10) as connection,
            pytest.raises(OSError, match=r"(?i)alert|version|reset"),
        ):
            context.wrap_socket(connection, server_hostname="127.0.0.1")


def test_certificates_are_exchanged_under_a_running_node(tmp_path, series, dcmtk_tls, authority):
    files = Authority(tmp_path / "old", "old-ca")
    pair = files.issue("node")
    config = TlsServerConfig(
        certificate=pair.certificate, key=pair.key, authorities=files.certificate
    )
    with running_receiver(tmp_path, tls=config) as receiver:
        assert storescu(receiver, series, *dcmtk_tls("client")).returncode != 0

        fresh = authority.issue("renewed")
        config.authorities.write_bytes(authority.certificate.read_bytes())
        config.certificate.write_bytes(fresh.certificate.read_bytes())
        config.key.write_bytes(fresh.key.read_bytes())

        assert storescu(receiver, series, *dcmtk_tls("client")).returncode == 0


def test_peers_that_do_not_go_on_with_the_handshake_hinder_nobody(tmp_path, tls, series, dcmtk_tls):
    with running_receiver(tmp_path, tls=tls, acse_timeout_seconds=2.0) as receiver:
        silent = [socket.create_connection(("127.0.0.1", receiver.port)) for _ in range(12)]
        try:
            for each in silent:
                each.sendall(b"\x16\x03\x01")  # the beginning of a ClientHello
            assert storescu(receiver, series, *dcmtk_tls("client")).returncode == 0

            silent[0].settimeout(10)
            assert silent[0].recv(100) == b""
        finally:
            for each in silent:
                each.close()


def test_a_certificate_that_cannot_be_used_is_a_fault_at_start(tmp_path, tls):
    broken = tls.model_copy(update={"key": tmp_path / "absent.key"})

    with (
        pytest.raises(ConfigError, match=r"receive\.tls\.key: "),
        running_receiver(tmp_path, tls=broken),
    ):
        pass


# -- where we call


@contextmanager
def storescp(folder, *options):
    """DCMTK's storescp on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder.mkdir()
    process = subprocess.Popen(
        [dcmtk("storescp"), *map(str, options), "-od", str(folder), "-aet", "PACS", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def listens():
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(listens, 10, "storescp listens")
        yield AEAddress("PACS", "127.0.0.1", port)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def client(authority, pairs):
    def config(who="client", **changes):
        files = {
            "certificate": pairs[who].certificate,
            "key": pairs[who].key,
            "authorities": authority.certificate,
        }
        return TlsClientConfig(**(files | changes))

    return config


def send(series, to, tls):
    return send_instances(series, to=to, calling_ae_title="NODE", timeout_seconds=5, tls=tls)


@pytest.mark.parametrize("profile", ["bcp195", "bcp195-modified", "tls13"])
def test_instances_are_sent_to_dcmtk(tmp_path, series, dcmtk_tls, client, profile):
    with storescp(tmp_path / "in", *dcmtk_tls("node")) as to:
        outcomes = send(series, to, client(profile=profile))

    assert [each.accepted for each in outcomes] == [True] * len(series)
    assert len(list((tmp_path / "in").iterdir())) == len(series)


def test_a_peer_that_refuses_our_certificate_is_named_as_that(tmp_path, series, dcmtk_tls, client):
    with (
        storescp(tmp_path / "in", *dcmtk_tls("node")) as to,
        pytest.raises(AssociationUnavailable, match=r"no TLS connection with PACS@127.*: .*alert"),
    ):
        send(series, to, client("rogue"))


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("rogue", "unable to get local issuer certificate"),
        ("expired", "certificate has expired"),
        ("elsewhere", "IP address mismatch"),
    ],
)
def test_a_peer_s_certificate_must_be_good_and_name_its_host(
    tmp_path, series, dcmtk_tls, client, who, words
):
    with (
        storescp(tmp_path / "in", *dcmtk_tls(who)) as to,
        pytest.raises(AssociationUnavailable, match=rf"is not accepted: .*{words}") as caught,
    ):
        send(series, to, client())

    assert caught.value.retryable


def test_the_name_of_the_host_may_be_left_unchecked(tmp_path, series, dcmtk_tls, client):
    with storescp(tmp_path / "in", *dcmtk_tls("elsewhere")) as to:
        outcomes = send(series, to, client(check_host=False))

    assert all(each.accepted for each in outcomes)


def test_a_peer_without_tls_is_no_tls_connection(tmp_path, series, client):
    begin = time.monotonic()
    with (
        storescp(tmp_path / "in") as to,
        pytest.raises(AssociationUnavailable, match="no TLS connection"),
    ):
        send(series, to, client())
    assert time.monotonic() - begin < 20


def test_our_two_sides_speak_to_each_other(tmp_path, tls, series, client):
    with running_receiver(tmp_path, tls=tls) as receiver:
        to = AEAddress("CHEST", "127.0.0.1", receiver.port)

        echo(to, calling_ae_title="NODE", timeout_seconds=5, tls=client())
        outcomes = send(series, to, client())

        assert all(each.accepted for each in outcomes)
        assert len(receiver.sink.refs()) == len(series)


# -- user identity (PS3.7 D.3.3.7)


@pytest.fixture
def users(tmp_path):
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    return (User(name="alice", password_file=password),)


def test_a_user_with_the_right_password_is_admitted_and_confirmed(tmp_path, series, users):
    with running_receiver(tmp_path, users=users) as receiver:
        asked = storescu(receiver, series, "-usr", "alice", "-pwd", "open sesame", "-rsp")
        unasked = storescu(receiver, series, "-usr", "alice", "-pwd", "open sesame")

    assert asked.returncode == 0, asked.stderr
    assert unasked.returncode == 0, unasked.stderr


def test_the_confirmation_is_an_item_without_content(tmp_path, users):
    """DCMTK says nothing of it, so it is looked at."""
    answers = []
    for wanted in (True, False):
        identity = UserIdentityNegotiation()
        identity.user_identity_type = 2
        identity.positive_response_requested = wanted
        identity.primary_field, identity.secondary_field = b"alice", b"open sesame"
        with running_receiver(tmp_path / str(wanted), users=users) as receiver:
            assoc = receiver.associate(ext_neg=[identity])
            assert assoc.is_established
            answers.append(assoc.acceptor.user_identity)
            assoc.release()

    assert answers[0].server_response == b""
    assert answers[1] is None


@pytest.mark.parametrize(
    "options",
    [
        ("-usr", "alice", "-pwd", "Open Sesame"),
        ("-usr", "bob", "-pwd", "open sesame"),
        ("-usr", "bob", "-pwd", ""),
        ("-usr", "alice"),
        (),
    ],
    ids=["password", "user", "empty", "name-alone", "none"],
)
def test_anybody_else_is_rejected_for_good(tmp_path, series, users, options, capsys):
    with running_receiver(tmp_path, users=users) as receiver:
        result = storescu(receiver, series, *options)

        assert result.returncode != 0
        assert "Result: Rejected Permanent, Source: Service Provider (ACSE Related)" in (
            result.stderr
        )
        assert receiver.sink.events == []
    logged = capsys.readouterr().out
    assert "user identity: wanted" in logged
    assert "sesame" not in logged.lower()
    assert "bob" not in logged


def test_without_users_whatever_is_offered_passes_unconfirmed(tmp_path, series):
    with running_receiver(tmp_path) as receiver:
        result = storescu(receiver, series, "-usr", "alice", "-pwd", "anything")

    assert result.returncode == 0, result.stderr


def test_an_empty_password_file_is_a_fault(tmp_path):
    empty = tmp_path / "empty"
    empty.write_text("\n")

    with (
        pytest.raises(ConfigError, match=r"receive\.users\.0\.password_file: .* is empty"),
        running_receiver(tmp_path, users=(User(name="alice", password_file=empty),)),
    ):
        pass
