"""The section of the object store that stands in for a common disk."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from dicomnode.config.fields import Section


class StorageConfig(Section):
    """An S3 bucket that all processes reach, where they have no disk in common."""

    bucket: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", description="Name of the bucket."
    )
    prefix: str = Field(
        "",
        pattern=r"^([A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*)?$",
        description="Before every key, for a bucket that others use too.",
    )
    endpoint: str | None = Field(
        None,
        pattern=r"^https?://[^\s/]+$",
        description="Of a server other than Amazon's, such as https://s3.example.org:9000.",
    )
    region: str = Field("us-east-1", min_length=1, description="As the server has it.")
    access_key_id: str | None = Field(
        None, min_length=1, description="Absent: from the environment or the machine's role."
    )
    secret_key_file: Path | None = Field(
        None, description="File that holds the secret access key, one line."
    )
    timeout_seconds: float = Field(
        30.0, gt=0, le=600, description="Of one request, repeats of it included."
    )
