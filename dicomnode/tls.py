"""TLS contexts by named profile, from certificate files that may change.  No sockets here.

The profiles are those of PS3.15: TLS 1.2 is the oldest version there is, in either direction, and
nothing negotiates lower.  Certificates are read again when their files change, so that they can be
renewed under a running node.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from dicomnode.config import Config, DimseDestination, TlsClientConfig, TlsProfile, TlsServerConfig
from dicomnode.errors import ConfigError
from dicomnode.log import get_logger

# RFC 9325 4.2: ephemeral key agreement and authenticated encryption.  TLS 1.3 has no others.
# @SECLEVEL=2 keeps out what has less than 112 bits: RSA keys below 2048, SHA-1 signatures.
_SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
_CIPHERS: Final[dict[TlsProfile, str]] = {
    "bcp195": ":".join((*_SUITES, "@SECLEVEL=2")),
    "bcp195-modified": ":".join(
        (*(each for each in _SUITES if "256-GCM" in each or "CHACHA" in each), "@SECLEVEL=2")
    ),
    "tls13": ":".join((*_SUITES, "@SECLEVEL=2")),
}

_log = get_logger(__name__)


def build_server_context(config: TlsServerConfig, *, path: str) -> ssl.SSLContext:
    """Make the context for connections that peers open.

    Parameters
    ----------
    config : TlsServerConfig
    path : str
        Dotted path of the section, for faults.

    Raises
    ------
    ConfigError
        With the key of the first file that cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _set_profile(context, config.profile)
    # The order of our list is the order of strength (RFC 9325 4.2.1).
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if config.authentication == "mutual":
        context.verify_mode = ssl.CERT_REQUIRED
    _load(context, config, path)
    return context


def build_client_context(config: TlsClientConfig, *, path: str) -> ClientContext:
    """Make the context for a connection that we open, from the files as they are now.

    Parameters
    ----------
    config : TlsClientConfig
    path : str
        Dotted path of the section, for faults.

    Raises
    ------
    ConfigError
        With the key of the first file that cannot be used.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.sslsocket_class = _ClientSocket
    context.check_hostname = config.check_host
    _set_profile(context, config.profile)
    _load(context, config, path)
    return context


class ClientContext(ssl.SSLContext):
    """A context for one connection that remembers why TLS failed on it.

    Attributes
    ----------
    failure : str or None
        Whoever connects for us may keep the reason to itself.
    """

    failure: str | None = None


class _ClientSocket(ssl.SSLSocket):
    """Tells its context of failures.

    In TLS 1.3 a server's refusal of our certificate shows only when we read.
    """

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError as error:
            self._note(error)
            raise

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except ssl.SSLError as error:
            self._note(error)
            raise

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):  # else the library would not close it
            super().shutdown(how)

    def _note(self, error: OSError) -> None:
        if isinstance(self.context, ClientContext):
            self.context.failure = describe_failure(error)


class ServerContexts:
    """The context for the next connection: a new one whenever a file has changed.

    Parameters
    ----------
    config : TlsServerConfig
    path : str
        Dotted path of the section, for faults and the log.

    Raises
    ------
    ConfigError
        If the files cannot be used now; later the old ones stay in force.
    """

    def __init__(self, config: TlsServerConfig, *, path: str) -> None:
        self._config = config
        self._path = path
        self._lock = threading.Lock()
        self._state = self._look()
        self._context = build_server_context(config, path=path)

    def current(self) -> ssl.SSLContext:
        """Return the context that matches the files, or the last that did."""
        with self._lock:
            state = self._look()
            if state != self._state:
                # Remembered either way: one line for each change, not for each connection.
                self._state = state
                self._reload()
            return self._context

    def _reload(self) -> None:
        try:
            self._context = build_server_context(self._config, path=self._path)
        except ConfigError as error:
            _log.error("tls_reload_failed", reason=str(error))
        else:
            _log.info("tls_reloaded", section=self._path)

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(each) for _, each in _files(self._config))


def describe_profile(profile: TlsProfile) -> tuple[str, tuple[str, ...]]:
    """Return the oldest version of TLS and the suites of TLS 1.2, in OpenSSL's names.

    TLS 1.3 has suites of its own, all of which are offered.
    """
    if profile == "tls13":
        return "1.3", ()
    return "1.2", tuple(each for each in _CIPHERS[profile].split(":") if not each.startswith("@"))


def check_files(config: Config) -> None:
    """Try every TLS section, so that a fault is found before a connection needs it.

    Raises
    ------
    ConfigError
        With every fault.
    """
    faults: list[str] = []
    if config.receive.tls is not None:
        try:
            build_server_context(config.receive.tls, path="receive.tls")
        except ConfigError as error:
            faults.extend(error.faults)
    for path, section in _client_sections(config):
        try:
            build_client_context(section, path=path)
        except ConfigError as error:
            faults.extend(error.faults)
    if faults:
        raise ConfigError(tuple(faults))


def _client_sections(config: Config) -> list[tuple[str, TlsClientConfig]]:
    sections = [
        (f"destinations.{name}.tls", each.tls)
        for name, each in config.destinations.items()
        if isinstance(each, DimseDestination)
    ]
    sections += [
        (f"receive.commitment.peers.{index}.tls", peer.tls)
        for index, peer in enumerate(config.receive.commitment.peers)
    ]
    sections += [
        (f"pipelines.{name}.completion.expected_count.tls", query.tls)
        for name, pipeline in config.pipelines.items()
        if (query := pipeline.completion.expected_count) is not None
    ]
    return [(path, section) for path, section in sections if section is not None]


def describe_failure(error: OSError) -> str:
    """Say why a handshake failed, in OpenSSL's words without its file and line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS failed").replace("_", " ").lower()
    return error.strerror or type(error).__name__


def _set_profile(context: ssl.SSLContext, profile: TlsProfile) -> None:
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if profile == "tls13" else ssl.TLSVersion.TLSv1_2
    )
    context.set_ciphers(_CIPHERS[profile])
    # RFC 9325 3.3 and 3.5; compression is off in Python's contexts anyway.
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION


def _load(context: ssl.SSLContext, config: TlsServerConfig | TlsClientConfig, path: str) -> None:
    for key, file in _files(config):
        try:
            file.read_bytes()
        except OSError as error:
            raise ConfigError(
                (f"{path}.{key}: {file} cannot be read: {error.strerror}",)
            ) from error
    if config.authorities is not None:
        try:
            context.load_verify_locations(config.authorities)
        except ssl.SSLError as error:
            fault = f"{path}.authorities: {config.authorities} holds no PEM certificates"
            raise ConfigError((fault,)) from error
    if config.revocation_lists is not None:
        _load_revocation_lists(context, config.revocation_lists, path)
    if config.certificate is None:
        return
    try:
        context.load_cert_chain(
            config.certificate, config.key, password=lambda: _passphrase(config.key_passphrase_file)
        )
    except ssl.SSLError as error:
        fault = (
            f"{path}.certificate: {config.certificate} and {config.key} are no pair that can be "
            f"used: {describe_failure(error)}"
        )
        raise ConfigError((fault,)) from error


def _load_revocation_lists(context: ssl.SSLContext, file: Path, path: str) -> None:
    before = context.cert_store_stats()
    with contextlib.suppress(ssl.SSLError):  # told below, as a file that holds something else
        context.load_verify_locations(file)
    after = context.cert_store_stats()
    # A certificate in it would become an authority that is trusted.
    if after["crl"] == before["crl"] or after["x509"] != before["x509"]:
        fault = f"{path}.revocation_lists: {file} holds no PEM revocation lists, or more than these"
        raise ConfigError((fault,))
    # Of each authority on the way up: an intermediate one may be revoked as well.  A peer under
    # one whose list is missing, or has expired, is refused: its certificate may be revoked.
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


def _passphrase(file: Path | None) -> bytes:
    # Asked for encrypted keys only; without an answer OpenSSL would ask on the terminal.
    return b"" if file is None else file.read_bytes().rstrip(b"\r\n")


def _files(config: TlsServerConfig | TlsClientConfig) -> Iterator[tuple[str, Path]]:
    for key in ("certificate", "key", "key_passphrase_file", "authorities", "revocation_lists"):
        file: Path | None = getattr(config, key)
        if file is not None:
            yield key, file


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
