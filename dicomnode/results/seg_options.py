"""What the options of a SEG ask for, and what findings allow of it.  No SEG is built here."""

from __future__ import annotations

from dicomnode.config import SegConfig
from dicomnode.model.findings import Findings
from dicomnode.results.frames import has_overlaps


def fitting_options(options: SegConfig, findings: Findings) -> SegConfig:
    """Return the options, or those of a BINARY SEG where the findings cannot be a LABELMAP.

    Segments of a LABELMAP must not overlap (Segments Overlap, PS3.3 C.8.20.2).  To keep only the
    uppermost would take from a lung the voxels of its lesions, and the volumes in the report would
    be none of the segments that they refer to.
    """
    is_fit = options.type == "binary" or not has_overlaps(findings)
    return options if is_fit else as_binary(options)


def as_binary(options: SegConfig) -> SegConfig:
    """Return the same options for a BINARY SEG, which knows no compression frame by frame."""
    if options.type == "binary":
        return options
    compression = "deflate" if options.compression == "deflate" else "none"
    return options.model_copy(update={"type": "binary", "compression": compression})


def variant_name(options: SegConfig) -> str:
    """Return what tells the SEG of these options from the default's, empty for the default.

    Part of its UIDs: an object that says something else must not bear the same.
    """
    parts = (
        ("labelmap", options.type == "labelmap"),
        ("all-frames", not options.omit_empty_frames),
        ("all-segments", options.empty_segments == "keep"),
    )
    return "-".join(name for name, holds in parts if holds)
