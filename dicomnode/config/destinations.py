"""The sections of destinations: archives, web services, folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dicomnode.config.fields import AETitle, Seconds, Section, check_distinct
from dicomnode.config.tls import TlsClientConfig

SENDER: Final = "sender"
"""As a destination: whoever sent the series, at its `return_to`."""
ResultKind = Literal["seg", "sr", "sc"]
FileKind = Literal["seg", "sr", "sc", "json", "png", "nifti"]
FallbackKind = Literal["sr", "comprehensive-sr", "enhanced-sr", "sc"]


class SegConfig(Section):
    """What segmentations for a destination look like."""

    type: Literal["binary", "labelmap"] = Field(
        "binary",
        description="labelmap: Label Map Segmentation, which few archives know yet; binary all the "
        "same where segments overlap.",
    )
    compression: Literal["none", "deflate", "rle", "jpeg-ls", "jpeg-2000"] = Field(
        "none", description="Without loss. Frame by frame (rle, jpeg-*) for labelmap only."
    )
    omit_empty_frames: bool = Field(
        True, description="false: a frame for every slice, for viewers that ask for it."
    )
    empty_segments: Literal["omit", "keep"] = Field(
        "omit", description="keep: also segments without a voxel, with empty frames."
    )

    @model_validator(mode="after")
    def _check_compression(self) -> Self:
        if self.type == "binary" and self.compression not in ("none", "deflate"):
            raise ValueError(
                f"compression of binary segmentations is none or deflate, "
                f"found {self.compression!r}"
            )
        return self


class ScConfig(Section):
    """What secondary captures for a destination look like."""

    form: Literal["images", "multi-frame"] = Field(
        "images", description="images: one instance a picture; multi-frame: one in all."
    )


class _Destination(Section):
    seg: SegConfig = SegConfig()
    sc: ScConfig = ScConfig()
    max_attempts: int = Field(8, ge=1, le=100, description="Then the delivery is parked.")
    first_retry_seconds: Seconds = Field(10.0, description="Doubled after each attempt.")
    longest_retry_seconds: Seconds = Field(3600.0, description="Upper limit of the doubling.")
    concurrency: int = Field(1, ge=1, le=16, description="Deliveries at the same time.")
    per_minute: float | None = Field(
        None, gt=0, le=6000, description="Deliveries a minute at most; none: no limit."
    )


class _DicomDestination(_Destination):
    objects: Annotated[tuple[ResultKind, ...], AfterValidator(check_distinct)] = Field(
        ("seg", "sr"), min_length=1, description="What is sent: seg, sr, sc."
    )
    fallback: Annotated[tuple[FallbackKind, ...], AfterValidator(check_distinct)] = Field(
        ("sr", "comprehensive-sr", "enhanced-sr"),
        description="What is sent in place of an object that is refused for good: sr and sc for a "
        "SEG, comprehensive-sr and then enhanced-sr for an SR.",
    )


class DimseDestination(_DicomDestination):
    """A storage SCP."""

    kind: Literal["dimse"] = Field(description="Sent by C-STORE.")
    ae_title: AETitle = Field(description="Its AE title.")
    host: str = Field(min_length=1, description="Its name or address.")
    port: int = Field(ge=1, le=65535, description="Its port.")
    calling_ae_title: AETitle | None = Field(
        None, description="Ours towards it; by default the pipeline's."
    )
    timeout_seconds: Seconds = Field(30.0, description="For connecting and for each answer.")
    tls: TlsClientConfig | None = Field(None, description="Absent: without TLS.")
    storage_commitment: bool = Field(
        False, description="Ask it to commit itself to what it took (PS3.4 J)."
    )
    commitment_seconds: Seconds = Field(
        3600.0, description="Without its answer by then the objects are sent again."
    )


class OAuthConfig(Section):
    """Client credentials (RFC 6749 4.4)."""

    token_url: str = Field(pattern=r"^https?://\S+$", description="Where tokens are had.")
    client_id: str = Field(min_length=1, description="Who we are to the service of tokens.")
    client_secret_file: Path = Field(description="The secret alone, in a file.")
    scope: str | None = Field(None, description="Asked for, if any.")


class DicomwebDestination(_DicomDestination):
    """A STOW-RS service (PS3.18 10.5)."""

    kind: Literal["dicomweb"] = Field(description="Sent by STOW-RS.")
    url: str = Field(
        pattern=r"^https?://[^\s?#@]+$", description="Base of the service, without /studies."
    )
    headers_file: Path | None = Field(
        None, description='Lines "Name: value" sent with each request, such as Authorization.'
    )
    oauth: OAuthConfig | None = Field(None, description="Or client credentials.")
    ca_file: Path | None = Field(None, description="Certificates to trust; the system's if none.")
    timeout_seconds: Seconds = Field(60.0, description="For connecting and for each answer.")


class FolderDestination(_Destination):
    """A folder, one subfolder a series."""

    kind: Literal["folder"] = Field(description="Written into a folder.")
    objects: Annotated[tuple[FileKind, ...], AfterValidator(check_distinct)] = Field(
        ("seg", "sr"), min_length=1, description="What is written: seg, sr, sc, json, png, nifti."
    )
    path: Path = Field(description="Made if missing.")


Destination = Annotated[
    DimseDestination | DicomwebDestination | FolderDestination, Field(discriminator="kind")
]
