"""What the results stage leaves for delivery, from a workspace and a configuration."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from dicomnode.config import FolderDestination, PipelineConfig, ReportConfig, ScConfig, SegConfig
from dicomnode.errors import MissingSlices
from dicomnode.imaging.volume import read_series
from dicomnode.pipeline.analysis import Stopwatch, write_refusal, write_results
from dicomnode.pipeline.objects import files_for
from dicomnode.spool.workspace import Workspace
from tests.support.ct import make_series
from tests.support.findings import make_findings, make_overlapping

STARTED = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def setup(*destinations: FolderDestination, **report: object) -> SimpleNamespace:
    """A pipeline without models: the results stage asks none."""
    return SimpleNamespace(
        name="chest-ct",
        version="chest-ct-1",
        destinations=destinations,
        config=PipelineConfig(
            ae_title="CHESTCT", destinations=("a",), report=ReportConfig(**report)
        ),
    )


def folder(*objects: str, **options: object) -> FolderDestination:
    return FolderDestination(kind="folder", path="out", objects=objects, **options)


def write(tmp_path, *destinations: FolderDestination, make=make_findings) -> dict[str, bytes]:
    made = make(make_series(tmp_path / "ct"))
    found = read_series(sorted((tmp_path / "ct").iterdir()))
    workspace = Workspace(tmp_path)
    workspace.save_volume(found.volume, found.paths)
    np.testing.assert_allclose(
        found.volume.geometry.affine_ijk_to_lps,
        made.findings.label_map.geometry.affine_ijk_to_lps,
    )
    workspace.save_findings(made.findings)
    return write_results(
        workspace,
        setup(*destinations),
        series_instance_uid=made.context.series_instance_uid,
        revision=1,
        created=STARTED,
        watch=Stopwatch("chest-ct"),
    )


def referred(report: bytes) -> set[str]:
    """SOP Instance UIDs of the segmentations that a report refers to."""
    read = pydicom.dcmread(io.BytesIO(report))
    return {
        str(each.value)
        for item in read.iterall()
        if item.keyword == "ReferencedSOPSequence"
        for reference in item.value
        if "ReferencedSegmentNumber" in reference
        for each in [reference["ReferencedSOPInstanceUID"]]
    }


def uid(content: bytes) -> str:
    return str(pydicom.dcmread(io.BytesIO(content)).SOPInstanceUID)


def test_every_report_refers_to_the_segmentation_that_goes_with_it(tmp_path):
    contents = write(
        tmp_path,
        folder("seg", "sr"),
        folder("seg", "sr", seg=SegConfig(type="labelmap", compression="rle")),
        folder("seg", seg=SegConfig(compression="deflate")),
        folder("sr"),
    )

    assert set(contents) == {
        "seg.dcm",
        "seg-deflate.dcm",
        "seg-labelmap-rle.dcm",
        "sr.dcm",
        "sr-labelmap.dcm",
        "sr-without-seg.dcm",
        "overlay.png",
        "findings.json",
    }
    assert referred(contents["sr.dcm"]) == {uid(contents["seg.dcm"])}
    assert referred(contents["sr-labelmap.dcm"]) == {uid(contents["seg-labelmap-rle.dcm"])}
    assert referred(contents["sr-without-seg.dcm"]) == set()
    assert uid(contents["seg-deflate.dcm"]) == uid(contents["seg.dcm"])


def test_a_destination_of_label_maps_gets_binary_where_segments_overlap(tmp_path):
    label_map = folder("seg", "sr", seg=SegConfig(type="labelmap", compression="rle"))
    with_all = folder("seg", "sr", seg=SegConfig(type="labelmap", omit_empty_frames=False))

    contents = write(tmp_path, label_map, with_all, make=make_overlapping)

    assert files_for(label_map, contents) == ["seg.dcm", "sr.dcm"]
    assert files_for(with_all, contents) == ["seg-all-frames.dcm", "sr-all-frames.dcm"]
    assert not any("labelmap" in name for name in contents)
    for segmentation, report in (("seg.dcm", "sr.dcm"), files_for(with_all, contents)):
        assert referred(contents[report]) == {uid(contents[segmentation])}
        read = pydicom.dcmread(io.BytesIO(contents[segmentation]))
        assert (read.SegmentationType, read.SegmentsOverlap) == ("BINARY", "YES")
    lesion = json.loads(contents["findings.json"])["segments"][-1]
    assert lesion["seg_segment_number"] == 3


def test_captures_show_the_very_picture_that_people_see_elsewhere(tmp_path):
    from PIL import Image

    contents = write(tmp_path, folder("sc"), folder("sc", sc=ScConfig(form="multi-frame")))

    picture = np.asarray(Image.open(io.BytesIO(contents["overlay.png"])))
    single = pydicom.dcmread(io.BytesIO(contents["sc-1.dcm"])).pixel_array
    several = pydicom.dcmread(io.BytesIO(contents["sc-multi-frame.dcm"])).pixel_array
    np.testing.assert_array_equal(single, picture)
    np.testing.assert_array_equal(several[0], picture)
    assert len(several) == sum(name.startswith("sc-") for name in contents) - 1


def test_repeating_leaves_the_same_bytes(tmp_path):
    destinations = (folder("seg", "sr", "sc", seg=SegConfig(type="labelmap")),)
    first = write(tmp_path, *destinations)

    workspace = Workspace(tmp_path)
    again = write_results(
        workspace,
        setup(*destinations),
        series_instance_uid=json.loads(first["findings.json"])["series_instance_uid"],
        revision=1,
        created=STARTED,
        watch=Stopwatch("chest-ct"),
    )

    assert again == first


def refuse(paths, **report: object) -> dict[str, bytes]:
    return write_refusal(
        paths,
        setup(**report),
        series_instance_uid="1.2.3",
        revision=1,
        created=STARTED,
        error=MissingSlices("a slice is missing"),
    )


def test_a_refusal_is_reported_though_a_file_cannot_be_read(tmp_path):
    paths = make_series(tmp_path)
    paths[4].write_bytes(b"\x00" * 300)
    paths[5].unlink()

    contents = refuse(paths)

    report = pydicom.dcmread(io.BytesIO(contents["sr.dcm"]))
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == len(paths) - 2


def test_a_refusal_is_only_recorded_where_the_pipeline_says_so(tmp_path):
    assert refuse(make_series(tmp_path), not_analyzed="record") == {}


def test_a_refusal_of_what_cannot_be_referred_to_is_only_recorded(tmp_path):
    path = tmp_path / "nothing"
    path.write_bytes(b"\x00" * 300)

    assert refuse([path]) == {}


@pytest.mark.parametrize("flag", ["partial", "complete"])
def test_a_refusal_bears_the_configured_flags(tmp_path, flag):
    contents = refuse(make_series(tmp_path), completion=flag)

    assert pydicom.dcmread(io.BytesIO(contents["sr.dcm"])).CompletionFlag == flag.upper()
