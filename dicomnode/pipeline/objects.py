"""Which result files there are, and which of them a destination takes.  Nothing is written here.

Destinations may want the same finding in different objects (another kind of SEG, a report without
a SEG to refer to).  Each such object is written once, under a name that says what it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from dicomnode.config import Destination, ScConfig, SegConfig
from dicomnode.results.seg import as_binary, variant_name

SEG_FILE: Final = "seg.dcm"
SR_FILE: Final = "sr.dcm"
"""Of the default options; also the report on a series that was refused."""

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


def wants_report_without_seg(destinations: Iterable[Destination]) -> bool:
    """Whether some destination takes a report and no SEG."""
    return any("sr" in each.objects and "seg" not in each.objects for each in destinations)


def wanted_captures(destinations: Iterable[Destination]) -> list[ScConfig]:
    """Return the forms of secondary capture to write, each once."""
    return list(dict.fromkeys(each.sc for each in destinations if "sc" in each.objects))


def files_for(destination: Destination, files: Collection[str]) -> list[str]:
    """Choose among the result files of a job those that a destination takes, in sending order.

    The SEG goes first: an archive that is asked for what a report refers to then has it.  Where a
    job has no label map, as segments overlap, the destination takes the binary SEG with its other
    options.  Where it has no file of the options at all, it takes the default's: a series that was
    refused has one report for all, and results may be older than the configuration.
    """
    chosen: list[str] = []
    for kind in ("seg", "sr", "sc"):
        if kind not in destination.objects:
            continue
        if kind == "sc":
            in_one = capture_files("multi-frame", 1)[0]
            is_one = destination.sc.form == "multi-frame"
            captures = (name for name in files if name.startswith("sc-"))
            chosen += sorted(name for name in captures if (name == in_one) == is_one)
            continue
        chosen += [name for name in _by_preference(kind, destination) if name in files][:1]
    return chosen


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
