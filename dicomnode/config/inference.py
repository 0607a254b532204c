"""The sections of the Triton server.  Models have manifests, not sections."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from dicomnode.config.fields import Seconds, Section


class InferenceTlsConfig(Section):
    """TLS towards a Triton server of its own."""

    ca_file: Path | None = Field(
        None, description="Certificates to trust, PEM; by default the public ones."
    )
    cert_file: Path | None = Field(None, description="Our own, PEM, if the server asks for one.")
    key_file: Path | None = Field(None, description="The key to it, PEM.")


class InferenceConfig(Section):
    """The Triton server and its models."""

    triton: str = Field(
        "embedded",
        pattern=r"^(embedded|[^:/\s]+:\d{1,5})$",
        description='"embedded", or HOST:PORT of a server\'s gRPC endpoint.',
    )
    model_repositories: tuple[Path, ...] = Field(
        (), description="Further folders with models and manifests, beside the shipped one."
    )
    timeout_seconds: Seconds = Field(300.0, description="Deadline of one inference call.")
    first_retry_seconds: Seconds = Field(
        5.0,
        description="Pause of a job whose server or model is away; doubled after each attempt.",
    )
    longest_retry_seconds: Seconds = Field(60.0, description="Longest such pause.")
    startup_seconds: Seconds = Field(120.0, description="Longest wait for server and models.")
    tls: InferenceTlsConfig | None = Field(None, description="Absent: plain. For HOST:PORT only.")
    token_file: Path | None = Field(
        None, description="Bearer token sent with every call, read anew for each. Needs tls."
    )
    max_in_flight: dict[str, Annotated[int, Field(ge=1, le=64)]] = Field(
        {},
        description="Calls to a Triton model at the same time, by its name; else its manifest's.",
    )
    model_instances: dict[str, Annotated[int, Field(ge=1, le=32)]] = Field(
        {}, description="Instances of a Triton model in the embedded server, by its name."
    )
    model_threads: int | None = Field(
        None, ge=1, le=256, description="Threads of a model's instance in the embedded server."
    )
