"""The sections of the console: where it listens, who may use it, what is told to an audit log."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from dicomnode.config.fields import PeerHost, Port, Section
from dicomnode.config.services import ListenConfig

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")]


class ConsoleTlsConfig(Section):
    """HTTPS by the console itself."""

    certificate: Path = Field(description="Ours, then the intermediate ones.")
    key: Path = Field(description="The key to it, PEM.")
    key_passphrase_file: Path | None = Field(None, description="For an encrypted key.")


class ProxyConfig(Section):
    """A reverse proxy in front of the console, whose forwarding headers are believed."""

    addresses: tuple[PeerHost, ...] = Field(
        min_length=1, description="Addresses or networks it calls from; others are not believed."
    )
    user_header: HeaderName | None = Field(
        None, description="Names who was signed in by the proxy. Absent: it signs nobody in."
    )
    role_header: HeaderName | None = Field(
        None, description="Says viewer or operator. Absent: all have default_role."
    )
    default_role: Literal["viewer", "operator"] = Field(
        "viewer", description="Of those whom the proxy names without a role."
    )


class AccessConfig(Section):
    """Who may use the console, and what they see."""

    open_to_anyone: bool = Field(
        False, description="Whoever reaches the port may view and act, without signing in."
    )
    password_file: Path | None = Field(
        None, description="Lines NAME:ROLE:HASH, made by `dicomnode password`."
    )
    token_file: Path | None = Field(
        None, description="The same for bearer tokens, made by `dicomnode token`."
    )
    proxy: ProxyConfig | None = Field(None, description="Absent: none is believed.")
    patients: Literal["viewers", "operators", "nobody"] = Field(
        "viewers", description="Who of those signed in is shown patients' names and IDs."
    )
    session_hours: float = Field(12.0, gt=0, le=720, description="Then one signs in again.")
    idle_minutes: float = Field(60.0, gt=0, le=1440, description="The same, if nothing was asked.")

    @property
    def asks(self) -> bool:
        """Whether anybody must say who they are."""
        signs_in = self.proxy is not None and self.proxy.user_header is not None
        return signs_in or self.password_file is not None or self.token_file is not None

    @model_validator(mode="after")
    def _check_openness(self) -> Self:
        if self.open_to_anyone and self.asks:
            raise ValueError(
                "open_to_anyone = true admits people without password, proxy or token: "
                "wanted one or the other, found both"
            )
        return self


class AuditConfig(Section):
    """An audit repository that takes DICOM audit messages by syslog (PS3.15 A.5 and A.6)."""

    transport: Literal["tls", "tcp", "udp"] = Field("tls", description="How syslog is sent.")
    host: str = Field(min_length=1, description="Of the repository.")
    port: int = Field(6514, ge=1, le=65535, description="Of the repository.")
    ca_file: Path | None = Field(None, description="Authorities for tls; default: the system's.")
    cert_file: Path | None = Field(None, description="Our certificate towards it.")
    key_file: Path | None = Field(None, description="The key to it.")
    source_id: str = Field("dicomnode", min_length=1, max_length=64, description="Names this node.")
    site_id: str | None = Field(None, max_length=64, description="Names the enterprise.")

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("wanted cert_file and key_file together, found one without the other")
        return self


class ConsoleConfig(ListenConfig):
    """Pages, API, health and metrics over HTTP."""

    port: Port = Field(8080, description="Port to listen on; 0 takes a free one.")
    volume_cache_bytes: int = Field(
        1_000_000_000,
        ge=0,
        description="Memory for volumes that are looked at; the latest is kept anyway.",
    )
    max_upload_bytes: int = Field(
        4_000_000_000, ge=1, description="Most that one upload may bring."
    )
    tls: ConsoleTlsConfig | None = Field(None, description="Absent: plain HTTP.")
    access: AccessConfig = AccessConfig()
    audit: AuditConfig | None = Field(None, description="Absent: audit lines in the log alone.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the port."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @model_validator(mode="after")
    def _check_reach(self) -> Self:
        if not (self.is_loopback or self.access.asks or self.access.open_to_anyone):
            raise ValueError(
                f"others reach {self.host}: wanted password_file, token_file or proxy with "
                "user_header in [console.access], or there open_to_anyone = true"
            )
        return self
