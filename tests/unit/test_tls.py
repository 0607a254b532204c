"""TLS contexts: what a profile admits, which files are faults, what a change of files does."""

import os
import ssl

import pytest

from dicomnode.config import TlsClientConfig, TlsServerConfig, load
from dicomnode.errors import ConfigError
from dicomnode.tls import ServerContexts, build_client_context, build_server_context, check_files
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("node")


@pytest.fixture
def files(authority, pair):
    return {
        "certificate": pair.certificate,
        "key": pair.key,
        "authorities": authority.certificate,
    }


BUILDERS = pytest.mark.parametrize(
    "build",
    [
        lambda **files: build_server_context(TlsServerConfig(**files), path="receive.tls"),
        lambda **files: build_client_context(
            TlsClientConfig(**files), path="destinations.pacs.tls"
        ),
    ],
    ids=["server", "client"],
)


@BUILDERS
@pytest.mark.parametrize(
    ("profile", "oldest"),
    [
        ("bcp195", ssl.TLSVersion.TLSv1_2),
        ("bcp195-modified", ssl.TLSVersion.TLSv1_2),
        ("tls13", ssl.TLSVersion.TLSv1_3),
    ],
)
def test_a_profile_admits_authenticated_encryption_with_ephemeral_keys_only(
    build, profile, oldest, files
):
    context = build(profile=profile, **files)

    assert context.minimum_version == oldest
    assert context.maximum_version == ssl.TLSVersion.MAXIMUM_SUPPORTED
    assert context.verify_mode == ssl.CERT_REQUIRED
    suites = context.get_ciphers()
    assert {each["aead"] for each in suites} == {True}
    assert {each["kea"] for each in suites} <= {"kx-ecdhe", "kx-any"}
    assert {each["protocol"] for each in suites} == {"TLSv1.2", "TLSv1.3"}
    if profile == "bcp195-modified":
        old = [each for each in suites if each["protocol"] == "TLSv1.2"]
        assert {each["strength_bits"] for each in old} == {256}


def test_a_client_checks_the_name_of_the_host_unless_told_not_to(files):
    assert build_client_context(TlsClientConfig(**files), path="x").check_hostname
    lenient = TlsClientConfig(check_host=False, **files)
    context = build_client_context(lenient, path="x")
    assert not context.check_hostname
    assert context.verify_mode == ssl.CERT_REQUIRED


def test_only_a_server_may_do_without_the_other_ones_certificate(authority, pair):
    server = TlsServerConfig(authentication="server", certificate=pair.certificate, key=pair.key)
    client = TlsClientConfig(authentication="server", authorities=authority.certificate)

    assert build_server_context(server, path="x").verify_mode == ssl.CERT_NONE
    assert build_client_context(client, path="x").verify_mode == ssl.CERT_REQUIRED


@pytest.mark.parametrize("key", ["certificate", "key", "authorities"])
def test_a_file_that_is_missing_is_a_fault_with_its_path(files, tmp_path, key):
    files[key] = tmp_path / "absent.pem"

    with pytest.raises(ConfigError, match=rf"receive\.tls\.{key}: .*absent\.pem cannot be read"):
        build_server_context(TlsServerConfig(**files), path="receive.tls")


@pytest.mark.parametrize("key", ["certificate", "authorities"])
def test_a_file_that_holds_something_else_is_a_fault(files, tmp_path, key):
    files[key] = tmp_path / "wrong.pem"
    files[key].write_text("no certificate")

    with pytest.raises(ConfigError, match=rf"receive\.tls\.{key}: "):
        build_server_context(TlsServerConfig(**files), path="receive.tls")


@BUILDERS
def test_revocation_lists_are_looked_at_where_they_are_configured(files, authority, build):
    without = build(**files)
    context = build(**files, revocation_lists=authority.revoke())

    assert not without.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN
    assert context.verify_flags & ssl.VERIFY_CRL_CHECK_CHAIN == ssl.VERIFY_CRL_CHECK_CHAIN
    assert context.cert_store_stats()["crl"] == 1


@BUILDERS
def test_a_file_without_revocation_lists_is_a_fault(files, build):
    with pytest.raises(ConfigError, match=r"tls\.revocation_lists: .* holds no PEM revocation"):
        build(**files, revocation_lists=files["certificate"])


def test_revocation_lists_need_certificates_to_look_up(files):
    with pytest.raises(ValueError, match="wanted with authentication"):
        TlsServerConfig(**files, authentication="server", revocation_lists=files["certificate"])


def test_the_key_of_another_certificate_is_a_fault(files, authority):
    files["key"] = authority.issue("other").key

    with pytest.raises(ConfigError, match="key values mismatch"):
        build_server_context(TlsServerConfig(**files), path="receive.tls")


def test_an_encrypted_key_wants_its_passphrase(authority, tmp_path):
    pair = authority.issue("locked", passphrase="four words are enough")  # noqa: S106 - a test's
    files = {"certificate": pair.certificate, "key": pair.key}
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("four words are enough\n")

    build_server_context(
        TlsServerConfig(**files, authentication="server", key_passphrase_file=passphrase), path="x"
    )

    for wrong in ({}, {"key_passphrase_file": pair.certificate}):
        with pytest.raises(ConfigError, match=r"x\.certificate: ") as caught:
            build_server_context(
                TlsServerConfig(**files, authentication="server", **wrong), path="x"
            )
        assert "four words" not in str(caught.value)


def test_a_weak_key_is_refused(authority):
    pair = authority.issue("weak", rsa_bits=1024)

    with pytest.raises(ConfigError, match="ee key too small"):
        build_server_context(
            TlsServerConfig(authentication="server", certificate=pair.certificate, key=pair.key),
            path="x",
        )


def test_a_context_is_made_anew_when_a_file_changes_and_only_then(tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("node")
    config = TlsServerConfig(authentication="server", certificate=pair.certificate, key=pair.key)
    contexts = ServerContexts(config, path="receive.tls")
    first = contexts.current()
    assert contexts.current() is first

    authority.issue("node")
    second = contexts.current()

    assert second is not first
    assert contexts.current() is second


def test_files_that_became_unusable_leave_the_old_ones_in_force(tmp_path, capsys):
    authority = Authority(tmp_path)
    pair = authority.issue("node")
    config = TlsServerConfig(authentication="server", certificate=pair.certificate, key=pair.key)
    contexts = ServerContexts(config, path="receive.tls")
    first = contexts.current()
    content = pair.certificate.read_bytes()

    pair.certificate.write_text("half a fi")
    assert contexts.current() is first
    assert contexts.current() is first
    assert capsys.readouterr().out.count("tls_reload_failed") == 1

    pair.certificate.write_bytes(content)
    os.utime(pair.certificate)
    assert contexts.current() is not first


def test_all_files_are_checked_before_they_are_needed(tmp_path):
    file = tmp_path / "dicomnode.toml"
    file.write_text(
        """
        [receive.tls]
        certificate = "absent.crt"
        key = "absent.key"
        authentication = "server"
        [pipelines.chest-ct]
        ae_title = "CHEST"
        destinations = ["pacs"]
        [destinations.pacs]
        kind = "dimse"
        ae_title = "PACS"
        host = "192.0.2.1"
        port = 104
        tls = { authorities = "absent.pem", authentication = "server" }
        [pipelines.chest-ct.completion.expected_count]
        host = "192.0.2.1"
        port = 104
        tls = { authorities = "gone.pem", authentication = "server" }
        """
    )

    with pytest.raises(ConfigError) as caught:
        check_files(load(file))

    ours, theirs, asked = caught.value.faults
    path = "pipelines.chest-ct.completion.expected_count.tls"
    assert asked.startswith(f"{path}.authorities: gone.pem cannot be read")
    assert ours.startswith("receive.tls.certificate: absent.crt cannot be read")
    assert theirs.startswith("destinations.pacs.tls.authorities: absent.pem cannot be read")


@pytest.mark.parametrize(
    ("section", "fault"),
    [
        (
            "[receive.tls]\ncertificate = 'a'",
            "receive.tls: key and authorities must be given",
        ),
        (
            "[receive.tls]\nprofile = 'ssl3'",
            (
                "receive.tls.profile: input should be 'bcp195', 'bcp195-modified' or 'tls13', "
                "found 'ssl3'"
            ),
        ),
    ],
)
def test_a_section_that_lacks_something_is_a_fault(tmp_path, section, fault):
    file = tmp_path / "dicomnode.toml"
    file.write_text(section)

    with pytest.raises(ConfigError) as caught:
        load(file)

    assert caught.value.faults == (fault,)
