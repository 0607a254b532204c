"""The sections of a pipeline: completion, geometry, report, retention."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dicomnode.config.fields import (
    AETitle,
    Days,
    Names,
    Seconds,
    Section,
    Share,
    Uid,
    check_distinct,
)
from dicomnode.config.tls import TlsClientConfig
from dicomnode.model.selection import SelectionRules
from dicomnode.standard.sop_classes import CT_SOP_CLASSES


class ArchiveQuery(Section):
    """A Query SCP that knows how many instances a series has (PS3.4 C.6.2)."""

    host: str = Field(min_length=1, description="Of the sender, or of an archive.")
    port: int = Field(ge=1, le=65535, description="Its port.")
    ae_title: AETitle | None = Field(
        None, description="Its AE title; by default that of the sender of the series."
    )
    timeout_seconds: Seconds = Field(5.0, description="For connecting and for each answer.")
    tls: TlsClientConfig | None = Field(None, description="Absent: without TLS.")


class CompletionConfig(Section):
    """When a series is complete."""

    settle_seconds: Seconds = Field(
        1.0,
        description="After the last release, where slices lie without a gap.",
    )
    quiet_seconds: Seconds = Field(
        5.0, description="Otherwise: no new instance and no open association for this long."
    )
    deadline_seconds: Seconds = Field(
        3600.0, description="The longest wait after the first instance."
    )
    at_deadline: Literal["proceed", "hold"] = Field(
        "proceed", description="Analyze what has come by then, or hold the series for a person."
    )
    expected_count: ArchiveQuery | None = Field(
        None, description="Ask an archive how many instances the series has."
    )


class GeometryConfig(Section):
    """What may pass the geometry gate."""

    gaps: Literal["refuse", "largest_block"] = Field(
        "refuse", description="Missing slices: refuse, or analyze the largest block without any."
    )
    acquisitions: Literal["refuse", "first", "last", "most_slices"] = Field(
        "refuse", description="Several acquisitions at the same positions: which one."
    )
    min_slices: int = Field(3, ge=3, le=5000, description="Fewer make no volume.")
    irregular_tolerance: float = Field(
        0.25,
        ge=0.05,
        le=0.5,
        description="Farthest a slice may lie from its place, in spacings; it is resampled.",
    )


class ReportConfig(Section):
    """What reports claim, and whether a refusal is sent."""

    not_analyzed: Literal["send", "record"] = Field(
        "send",
        description='send: a report "not analyzed" with the reason; record: in the job list only.',
    )
    completion: Literal["complete", "partial"] = Field(
        "complete", description="Completion Flag (PS3.3 C.17.2)."
    )
    preliminary: bool = Field(
        True, description="Preliminary Flag: true PRELIMINARY, false FINAL (PS3.3 C.17.2)."
    )


class RetentionConfig(Section):
    """How long what is settled is kept: delivered, committed where asked, or given up."""

    received_days: Days = Field(7.0, description="Received instances.")
    results_days: Days = Field(30.0, description="Result files.")
    records_days: Days = Field(365.0, description="Rows, after the files are gone.")
    high_watermark: Share = Field(
        0.9, description="Disk fuller than this: settled things go whatever their age."
    )
    low_watermark: Share = Field(0.8, description="Until it is no fuller than this.")


class PipelineConfig(Section):
    """What happens to series sent to one called AE title."""

    ae_title: AETitle = Field(description="Called AE title, exactly as peers use it.")
    segment: Names = Field(
        ("lung", "opacities"),
        min_length=1,
        max_length=16,
        description="Segmentation manifests, in order.",
    )
    classify: Names = Field(("opacity",), description="Classification manifests.")
    destinations: Names = Field(description="Where results go, by name.")
    store_classes: Annotated[tuple[Uid, ...], AfterValidator(check_distinct)] = Field(
        CT_SOP_CLASSES, min_length=1, description="SOP classes that are stored, by UID."
    )
    other_classes: Literal["ignore", "refuse"] = Field(
        "ignore",
        description="ignore: others are answered with Success, not kept; refuse: not negotiated.",
    )
    duplicates: Literal["keep-first", "replace", "refuse"] = Field(
        "keep-first",
        description="Which of two instances with one SOP Instance UID and different content stays.",
    )
    quota_bytes: int | None = Field(
        None, ge=1, description="Most that may be stored for it. Absent: no limit of its own."
    )
    completion: CompletionConfig = CompletionConfig()
    report: ReportConfig = ReportConfig()
    selection: SelectionRules = SelectionRules()
    geometry: GeometryConfig = GeometryConfig()
    retention: RetentionConfig | None = Field(
        None, description="For this pipeline; by default the general one."
    )
