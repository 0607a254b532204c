"""A destination gets the objects that it asked for, and a report on the SEG that it gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import FolderDestination, ScConfig, SegConfig
from dicomnode.pipeline.objects import (
    capture_files,
    files_for,
    seg_file,
    sr_file,
    sr_variant,
    wanted_captures,
    wanted_segmentations,
    wants_report_without_seg,
)

LABELMAP = SegConfig(type="labelmap", compression="rle")


def destination(*objects: str, **options: object) -> FolderDestination:
    return FolderDestination(
        kind="folder", path=Path("out"), **({"objects": objects} if objects else {}), **options
    )


ALL = (
    "findings.json",
    "overlay.png",
    "seg.dcm",
    "sr.dcm",
    "seg-labelmap-rle.dcm",
    "sr-labelmap.dcm",
    "sr-without-seg.dcm",
    "sc-2.dcm",
    "sc-1.dcm",
    "sc-multi-frame.dcm",
)


@pytest.mark.parametrize(
    ("taker", "wanted"),
    [
        (destination(), ["seg.dcm", "sr.dcm"]),
        (destination("sr", "seg"), ["seg.dcm", "sr.dcm"]),
        (destination("seg"), ["seg.dcm"]),
        (destination("sr"), ["sr-without-seg.dcm"]),
        (destination("sr", "sc"), ["sr-without-seg.dcm", "sc-1.dcm", "sc-2.dcm"]),
        (destination("sc", sc=ScConfig(form="multi-frame")), ["sc-multi-frame.dcm"]),
        (destination(seg=LABELMAP), ["seg-labelmap-rle.dcm", "sr-labelmap.dcm"]),
    ],
)
def test_a_destination_takes_its_objects_the_seg_first(taker, wanted):
    assert files_for(taker, ALL) == wanted


@pytest.mark.parametrize("objects", [("seg", "sr"), ("sr",)])
def test_a_refusal_has_one_report_for_all(objects):
    assert files_for(destination(*objects, seg=LABELMAP), ["sr.dcm"]) == ["sr.dcm"]


def test_results_older_than_the_configuration_are_taken_as_they_are():
    old = ["seg.dcm", "sr.dcm", "overlay.png"]

    assert files_for(destination("seg", "sr", "sc", seg=LABELMAP), old) == ["seg.dcm", "sr.dcm"]


def test_nothing_is_written_twice_and_the_default_always():
    takers = [destination(), destination(seg=LABELMAP), destination(seg=LABELMAP)]

    assert wanted_segmentations(takers) == [SegConfig(), LABELMAP]
    assert wanted_segmentations([destination("sr")]) == [SegConfig()]
    assert wanted_captures([*takers, destination("sc"), destination("sc", "sr")]) == [ScConfig()]
    assert not wants_report_without_seg(takers)
    assert wants_report_without_seg([destination("sc", "sr")])


def test_each_object_has_a_name_of_its_own():
    options = [
        SegConfig(),
        SegConfig(compression="deflate"),
        SegConfig(type="labelmap"),
        SegConfig(type="labelmap", compression="deflate"),
        SegConfig(omit_empty_frames=False),
        SegConfig(empty_segments="keep"),
    ]

    assert len({seg_file(each) for each in options}) == len(options)
    # Compression changes nothing of what a report refers to.
    assert sr_file(sr_variant(destination(seg=options[1]))) == "sr.dcm"
    assert capture_files("images", 3) == ["sc-1.dcm", "sc-2.dcm", "sc-3.dcm"]
