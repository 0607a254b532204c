"""The gRPC channel to the inference server: plain or TLS, with or without a token."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tritonclient import grpc as triton
from tritonclient.grpc import InferenceServerClient

from dicomnode.errors import InferenceUnavailable


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What proves the server to us, and us to the server.

    Attributes
    ----------
    tls : bool
        Whether the channel is encrypted.
    ca_file : Path or None
        Certificates to trust, PEM; None: those that gRPC carries.
    cert_file, key_file : Path or None
        Our own, PEM, where the server asks for one.
    token_file : Path or None
        Holds a bearer token, sent with every call and read anew for each.
    """

    tls: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    token_file: Path | None = None


def open_channel(
    address: str, options: Sequence[tuple[str, Any]], credentials: Credentials | None
) -> Any:
    """Return a client of tritonclient; connects when first used.

    Raises
    ------
    InferenceUnavailable
        If a file of the credentials cannot be read.
    """
    if credentials is None:
        return InferenceServerClient(address, channel_args=list(options))
    files = {
        "root_certificates": credentials.ca_file,
        "private_key": credentials.key_file,
        "certificate_chain": credentials.cert_file,
    }
    for path in files.values():
        if path is not None:
            _read(path)
    client = InferenceServerClient(
        address,
        ssl=credentials.tls,
        channel_args=list(options),
        **{name: None if path is None else str(path) for name, path in files.items()},
    )
    if credentials.token_file is not None:
        _read(credentials.token_file)
        client.register_plugin(_Bearer(credentials.token_file))
    return client


def is_loopback(address: str) -> bool:
    """Whether ``HOST:PORT`` is on this machine, whichever it is."""
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _Bearer(triton.InferenceServerClientPlugin):  # type: ignore[misc]  # tritonclient has no types
    """Adds the token; from its file each time, because tokens are exchanged while we run."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, request: Any) -> None:
        request.headers["authorization"] = f"Bearer {_read(self._path).strip()}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InferenceUnavailable(
            f"{path}: wanted credentials for the inference server, cannot be read"
        ) from error
