"""The sections of the receiver: who may call, how much, with what."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dicomnode.config.fields import Address, AETitle, PeerHost, Port, Seconds, Section
from dicomnode.config.tls import TlsClientConfig, TlsServerConfig


class AllowedCaller(Section):
    """A peer that may open associations."""

    ae_title: AETitle = Field(description="Calling AE title.")
    hosts: tuple[PeerHost, ...] = Field(
        min_length=1, description="Addresses or networks (192.0.2.0/24) it may call from."
    )
    return_to: Address | None = Field(
        None, description='AET@HOST:PORT for results with the destination "sender".'
    )
    verification_only: bool = Field(
        False, description="It may ask whether the node is there (C-ECHO), and store nothing."
    )


class User(Section):
    """A user that may open associations (PS3.7 D.3.3.7)."""

    name: str = Field(min_length=1, max_length=64, description="As peers send it.")
    password_file: Path = Field(description="File that holds the password, one line.")


class CommitmentPeer(Section):
    """Where storage commitment results go that cannot go over the association of the request."""

    ae_title: AETitle = Field(description="Calling AE title that the request came with.")
    host: str = Field(min_length=1, description="Name or address that it listens on.")
    port: int = Field(ge=1, le=65535, description="Port that it listens on.")
    tls: TlsClientConfig | None = Field(None, description="Absent: without TLS.")


class CommitmentConfig(Section):
    """The Storage Commitment SCP, push model (PS3.4 J)."""

    peers: tuple[CommitmentPeer, ...] = Field(
        (), description="Who is called back. Others get the result on their own association only."
    )
    timeout_seconds: Seconds = Field(30.0, description="For connecting and for each answer.")
    max_attempts: int = Field(8, ge=1, le=100, description="Then the result is parked.")
    first_retry_seconds: Seconds = Field(10.0, description="Doubled after each attempt.")
    longest_retry_seconds: Seconds = Field(3600.0, description="Upper limit of the doubling.")


class ReceiveConfig(Section):
    """The storage SCP."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: Port = Field(11112, description="Port to listen on; 0 takes a free one.")
    processes: int = Field(
        1, ge=1, le=64, description="That accept on the port. More than one for more than one core."
    )
    allowed_callers: tuple[AllowedCaller, ...] = Field(
        (), description="Who may call. Empty: any AE title, from this machine only."
    )
    max_associations: int = Field(16, ge=1, le=1000, description="Open at the same time, in all.")
    max_associations_per_peer: int | None = Field(
        None,
        ge=1,
        le=1000,
        description="Open at the same time, from one address. By default all but two.",
    )
    max_pdu_bytes: int = Field(
        131_072, ge=4096, le=1_048_576, description="Largest P-DATA PDU accepted (PS3.8 D.1)."
    )
    data_path: Literal["fast", "pynetdicom"] = Field(
        "fast",
        description="fast: C-STORE data goes straight from the socket into the spool; pynetdicom: "
        "the library's own way, the slower reference.",
    )
    acse_timeout_seconds: Seconds = Field(30.0, description="For negotiation and release.")
    dimse_timeout_seconds: Seconds = Field(60.0, description="For an answer to our report.")
    network_timeout_seconds: Seconds = Field(
        60.0, description="Then idle associations and slow PDUs are aborted."
    )
    reserve_bytes: int = Field(
        1_000_000_000, ge=0, description="Free disk space below which instances are refused."
    )
    headroom_bytes: int = Field(
        500_000_000,
        ge=0,
        description="Free disk space beyond the reserve below which associations are rejected.",
    )
    max_instance_bytes: int = Field(4_000_000_000, ge=1, description="Largest data set accepted.")
    tls: TlsServerConfig | None = Field(None, description="Absent: without TLS.")
    users: tuple[User, ...] = Field(
        (), description="Who may call, by user name and password. Empty: nobody is asked."
    )
    commitment: CommitmentConfig = CommitmentConfig()
