"""Which objects a destination may be sent: SOP class and transfer syntax of each, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomnode.config import Destination, SegConfig
from dicomnode.pipeline.parcels import SIMPLER_REPORTS, possible_fallbacks
from dicomnode.results.seg_options import as_binary
from dicomnode.standard.sop_classes import (
    COMPREHENSIVE_3D_SR,
    EXPLICIT_VR_LITTLE_ENDIAN,
    LABEL_MAP_SEGMENTATION,
    MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE,
    SECONDARY_CAPTURE,
    SEG_TRANSFER_SYNTAXES,
    SEGMENTATION,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SentObject:
    """One kind of object.

    Attributes
    ----------
    kind : str
        As the configuration calls it: ``seg``, ``sr``, ``sc``, ``comprehensive-sr``.
    sop_class_uid, transfer_syntax_uid : str
        As it lies in the outbox.
    when : str
        In words.
    """

    kind: str
    sop_class_uid: str
    transfer_syntax_uid: str
    when: str


def sent_objects(destination: Destination) -> Iterator[SentObject]:
    """Yield what a destination may be sent, what is asked for first and then what stands for it."""
    if "seg" in destination.objects:
        yield _segmentation(destination.seg, "a segment holds a voxel")
        if destination.seg.type == "labelmap":
            yield _segmentation(as_binary(destination.seg), "instead, where segments overlap")
    if "sr" in destination.objects:
        yield _plain("sr", COMPREHENSIVE_3D_SR, "always")
    if "sc" in destination.objects:
        yield _plain("sc", _capture_class(destination), "the series was analyzed")
    for kind in possible_fallbacks(destination):
        if kind == "sr":
            words = "without reference to a SEG, if that is refused"
            yield _plain("sr", COMPREHENSIVE_3D_SR, words)
        elif kind == "sc":
            words = "if what they stand for is refused, and nothing fuller is taken"
            yield _plain("sc", _capture_class(destination), words)
        else:
            yield _plain(kind, SIMPLER_REPORTS[kind], "if the fuller report is refused")


def _segmentation(options: SegConfig, when: str) -> SentObject:
    return SentObject(
        kind="seg",
        sop_class_uid=SEGMENTATION if options.type == "binary" else LABEL_MAP_SEGMENTATION,
        transfer_syntax_uid=SEG_TRANSFER_SYNTAXES[options.compression],
        when=when,
    )


def _plain(kind: str, sop_class_uid: str, when: str) -> SentObject:
    return SentObject(
        kind=kind,
        sop_class_uid=sop_class_uid,
        transfer_syntax_uid=EXPLICIT_VR_LITTLE_ENDIAN,
        when=when,
    )


def _capture_class(destination: Destination) -> str:
    is_one = destination.sc.form == "multi-frame"
    return MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE if is_one else SECONDARY_CAPTURE
