"""TLS of DIMSE connections, ours and theirs.  The profiles themselves are in `dicomnode.tls`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from dicomnode.config.fields import Section, require

TlsProfile = Literal["bcp195", "bcp195-modified", "tls13"]


class _Tls(Section):
    profile: TlsProfile = Field(
        "bcp195",
        description="bcp195: BCP 195 RFC 8996, RFC 9325 (TLS 1.2 and 1.3); bcp195-modified: its "
        "cipher suites of 256 bit only; tls13: TLS 1.3 alone.",
    )
    authentication: Literal["mutual", "server"] = Field(
        "mutual", description="Who shows a certificate: both sides, or the server only."
    )
    authorities: Path | None = Field(
        None, description="PEM file with the CA certificates that peers must come from."
    )
    revocation_lists: Path | None = Field(
        None,
        description="PEM file with the current revocation list (CRL) of each authority. Absent: "
        "revocation is not looked at.",
    )
    certificate: Path | None = Field(
        None, description="PEM file with our certificate, then its intermediate ones."
    )
    key: Path | None = Field(None, description="PEM file with our private key.")
    key_passphrase_file: Path | None = Field(
        None, description="File that holds the passphrase of an encrypted key."
    )


class TlsServerConfig(_Tls):
    """TLS where peers call us: certificate and key are required, for mutual TLS authorities."""

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        needed = ["certificate", "key"]
        if self.authentication == "mutual":
            needed.append("authorities")
        elif self.revocation_lists is not None:
            raise ValueError(
                'revocation_lists: wanted with authentication = "mutual" only: else nobody shows '
                "us a certificate"
            )
        return require(self, needed)


class TlsClientConfig(_Tls):
    """TLS where we call a peer: authorities are required, for mutual TLS certificate and key."""

    check_host: bool = Field(
        True, description="Whether the peer's certificate must name the host that is called."
    )

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        needed = ["authorities"]
        if self.authentication == "mutual":
            needed += ["certificate", "key"]
        return require(self, needed)
