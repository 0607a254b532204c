"""The sections of what surrounds the work: health, database, log.  The console has its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from dicomnode.config.fields import Port, Section


class ListenConfig(Section):
    """Where something listens."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: Port = Field(0, description="Port to listen on; 0 takes a free one.")


class HealthConfig(ListenConfig):
    """Health and metrics apart from the console."""

    port: Port = Field(8081, description="Port to listen on; 0 takes a free one.")


class DatabaseConfig(Section):
    """Where series, jobs and deliveries are recorded."""

    url: str = Field(
        "sqlite",
        pattern=r"^(sqlite|postgresql(\+psycopg)?://.+)$",
        description='"sqlite" for the embedded file in data_dir, or postgresql://...',
    )
    url_file: Path | None = Field(
        None, description="File whose first line is the URL, which holds a password; then no url."
    )


class LogConfig(Section):
    """Log lines on standard error."""

    form: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else json."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level shown."
    )


class TelemetryConfig(Section):
    """Traces over OTLP."""

    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#@]+$",
        description="Takes OTLP over gRPC: http://HOST:PORT or https://HOST:PORT. Absent: none.",
    )
    headers_file: Path | None = Field(
        None, description='Lines "Name: value" sent along, such as Authorization.'
    )
    ca_file: Path | None = Field(
        None, description="Certificates to trust; the public ones if none."
    )
    sample_ratio: float = Field(
        1.0, ge=0.0, le=1.0, description="Share of the traces that are sent."
    )
