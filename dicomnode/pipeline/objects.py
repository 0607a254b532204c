"""Which result files there are, and which of them a destination takes.  Nothing is written here.

Destinations may want the same finding in different objects (another kind of SEG, a report without
a SEG to refer to).  Each such object is written once, under a name that says what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from dicomnode.config import Destination, FolderDestination, ScConfig, SegConfig
from dicomnode.results.seg_options import as_binary, variant_name

SEG_FILE: Final = "seg.dcm"
SR_FILE: Final = "sr.dcm"
"""Of the default options; also the report on a series that was refused."""

PICTURE_FILE: Final = "overlay.png"
SUMMARY_FILE: Final = "findings.json"
LABELS_FILE: Final = "labels.nii.gz"

_KINDS: Final = {PICTURE_FILE: "png", SUMMARY_FILE: "json", LABELS_FILE: "nifti"}
"""Of files that are no DICOM objects, as the configuration calls them."""

WITHOUT_SEG: Final = "without-seg"
"""Variant of the report for destinations that are sent no SEG."""


def seg_file(options: SegConfig) -> str:
    """Return the name of the file that holds a SEG of these options."""
    packing = "" if options.compression == "none" else options.compression
    return _named("seg", variant_name(options), packing)


def sr_variant(destination: Destination) -> str:
    """Return which report a destination takes: the one that refers to the SEG it is sent."""
    return variant_name(destination.seg) if "seg" in destination.objects else WITHOUT_SEG


def sr_file(variant: str) -> str:
    """Return the name of the file that holds a variant of the report."""
    return _named("sr", variant)


def capture_files(form: str, count: int) -> list[str]:
    """Return the names of the files that hold the secondary captures of this form."""
    if form == "multi-frame":
        return [_named("sc", form)]
    return [_named("sc", str(number)) for number in range(1, count + 1)]


def wanted_segmentations(destinations: Iterable[Destination]) -> list[SegConfig]:
    """Return the SEG options to write: the default's first, each once."""
    asked = (each.seg for each in destinations if "seg" in each.objects)
    return list(dict.fromkeys((SegConfig(), *asked)))


def allowed_fallbacks(destination: Destination) -> tuple[str, ...]:
    """Return what a destination may be sent in place of what it refuses for good."""
    return () if isinstance(destination, FolderDestination) else destination.fallback


def wants_report_without_seg(destinations: Iterable[Destination]) -> bool:
    """Whether some destination takes a report and no SEG, or must if it refuses the SEG."""
    return any(
        "sr" in allowed_fallbacks(each) if "seg" in each.objects else "sr" in each.objects
        for each in destinations
    )


def wanted_captures(destinations: Iterable[Destination]) -> list[ScConfig]:
    """Return the forms of secondary capture to write, each once."""
    return list(
        dict.fromkeys(
            each.sc
            for each in destinations
            if "sc" in each.objects or "sc" in allowed_fallbacks(each)
        )
    )


def wants_label_map(destinations: Iterable[Destination]) -> bool:
    """Whether some destination takes the label map as NIfTI."""
    return any("nifti" in each.objects for each in destinations)


def kind_of(name: str) -> str:
    """Return what a file holds, as the configuration calls it: ``seg``, ``sr``, ``json``."""
    return _KINDS.get(name) or name.removesuffix(".dcm").partition("-")[0]


def captures_for(destination: Destination, files: Collection[str]) -> list[str]:
    """Choose the secondary captures of a job in the form that a destination takes."""
    in_one = capture_files("multi-frame", 1)[0]
    is_one = destination.sc.form == "multi-frame"
    captures = (name for name in files if kind_of(name) == "sc")
    return sorted(name for name in captures if (name == in_one) == is_one)


def files_for(destination: Destination, files: Collection[str]) -> list[str]:
    """Choose among the result files of a job those that a destination takes, in sending order.

    The SEG goes first: an archive that is asked for what a report refers to then has it.  Where a
    job has no label map, as segments overlap, the destination takes the binary SEG with its other
    options.  Where it has no file of the options at all, it takes the default's: a series that was
    refused has one report for all, and results may be older than the configuration.
    """
    chosen: list[str] = []
    for kind in ("seg", "sr"):
        if kind not in destination.objects:
            continue
        chosen += [name for name in _by_preference(kind, destination) if name in files][:1]
    if "sc" in destination.objects:
        chosen += captures_for(destination, files)
    others = (name for name, kind in _KINDS.items() if kind in destination.objects)
    return [*chosen, *(name for name in others if name in files)]


def _by_preference(kind: str, destination: Destination) -> tuple[str, str, str]:
    """Return the names of the SEG or SR that a destination takes, the one it asks for first."""
    binary = as_binary(destination.seg)
    if kind == "seg":
        return seg_file(destination.seg), seg_file(binary), SEG_FILE
    takes_seg = "seg" in destination.objects
    second = sr_file(variant_name(binary)) if takes_seg else SR_FILE
    return sr_file(sr_variant(destination)), second, SR_FILE


def _named(*parts: str) -> str:
    return "-".join(part for part in parts if part) + ".dcm"
