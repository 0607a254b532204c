"""SEG, SR and SC before judges that share no code with pydicom.

dicom3tools, dcmqi, DCMTK and PixelMed's DicomSRValidator; an archive is the judge elsewhere.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK

from dicomnode.config import ScConfig, SegConfig
from dicomnode.results.capture import encode_captures
from dicomnode.results.refusal import encode_refusal
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.segments import segment_numbers
from dicomnode.results.sr import encode_report
from tests.support.ct import OBLIQUE, make_series
from tests.support.findings import (
    LEFT_LUNG,
    NO_LUNGS,
    RIGHT_LUNG,
    Made,
    make_findings,
    make_overlapping,
)

XPATH_WITHOUT_LIMITS = (
    "-Djdk.xml.xpathTotalOpLimit=0 -Djdk.xml.xpathExprOpLimit=0 -Djdk.xml.xpathExprGrpLimit=0"
    # It runs some seconds: too short a time for a compiler that optimizes.
    " -XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
)
FEET_FIRST = (-1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)


def ask(judge: str, *arguments: object, system: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a judge: of the virtual environment, or the system's own where names are taken."""
    where = os.defpath if system else str(Path(sys.executable).parent)
    program = shutil.which(judge, path=where)
    assert program is not None, f"{judge} is not installed"
    return subprocess.run(
        [program, *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=120,
        check=False,
        # DicomSRValidator dies of Java 17's limits on XPath.
        env={**os.environ, "JAVA_TOOL_OPTIONS": XPATH_WITHOUT_LIMITS},
    )


def errors_of(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


def template_errors_of(path: Path) -> list[str]:
    """What DicomSRValidator holds against a report, without its two false alarms.

    It calls a procedure outside the extensible context group 100 an error; and as soon as one
    measurement group is by TID 1411 it holds all of them against it, those by TID 1501 too.
    """
    done = ask("DicomSRValidator", "-donotmatchcase", path, system=True)
    assert "Root Template Validation Complete" in done.stdout, done.stdout + done.stderr
    report = pydicom.dcmread(path)
    return [
        line
        for line in errors_of(done)
        if '(121058,DCM,"Procedure reported")' not in line
        and not ("Template 1411" in line and _template_at(report, line) == "1501")
    ]


def _template_at(report: pydicom.Dataset, line: str) -> str | None:
    """The template of the group that a line names by its place, as ``within 1.9.3:``."""
    found = re.search(r"within 1((?:\.\d+)+):", line)
    item = report
    for number in found[1].split(".")[1:] if found else ():
        item = item.ContentSequence[int(number) - 1]
    if "ContentTemplateSequence" not in item:
        return None
    return str(item.ContentTemplateSequence[0].TemplateIdentifier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A CT series on disk with the results made of it."""

    made: Made
    ct: Sequence[Path]
    seg: Path
    sr: Path


def write_results(
    made: Made, ct: Sequence[Path], folder: Path, options: SegConfig | None = None
) -> Study:
    segmentation = encode_segmentation(
        made.findings,
        volume_sources=made.sources,
        evidence=made.evidence,
        context=made.context,
        options=options,
    )
    assert segmentation is not None
    report = encode_report(
        made.findings, evidence=made.evidence, segmentation=segmentation, context=made.context
    )
    study = Study(made=made, ct=ct, seg=folder / "seg.dcm", sr=folder / "sr.dcm")
    segmentation.save_as(study.seg, enforce_file_format=True)
    report.save_as(study.sr, enforce_file_format=True)
    return study


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((1, 0, 0, 0, 1, 0), id="axial"),
        pytest.param(FEET_FIRST, id="feet first"),
        pytest.param(SAGITTAL, id="sagittal"),
        pytest.param(OBLIQUE, id="oblique"),
    ],
)
def study(request, tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    ct = make_series(folder / "ct", orientation=request.param, seed=11)
    return write_results(make_findings(ct), ct, folder)


def assert_dcmqi_agrees(study: Study, folder: Path, options: SegConfig | None = None) -> None:
    """Every voxel of ours is one of dcmqi's at the same place in the patient, and no more."""
    done = ask(
        "segimage2itkimage",
        *("--inputDICOM", study.seg, "--outputDirectory", folder),
        *("--prefix", "s", "--outputType", "nrrd"),
    )
    assert done.returncode == 0, done.stderr
    label_map = study.made.findings.label_map
    geometry = label_map.geometry
    for label, number in segment_numbers(study.made.findings, options).items():
        kji = np.argwhere(label_map.values_of(label)[label_map.labels])
        if not len(kji):
            continue
        if options is not None and options.type == "labelmap":
            # Of a label map dcmqi makes one file for all segments.
            theirs = SimpleITK.ReadImage(folder / "s-1.nrrd")
            voxels = SimpleITK.GetArrayFromImage(theirs) == number
        else:
            theirs = SimpleITK.ReadImage(folder / f"s-{number}.nrrd")
            voxels = SimpleITK.GetArrayFromImage(theirs)
        assert np.count_nonzero(voxels) == len(kji)
        # Every voxel of a small label map, some of a large one.
        some = kji[:: 1 + len(kji) // 5000]
        places = geometry.to_lps(some[:, ::-1].astype(float))
        at = [theirs.TransformPhysicalPointToIndex(place.tolist()) for place in places]
        assert all(voxels[index[::-1]] for index in at)


def test_dciodvfy_finds_no_error(study):
    assert errors_of(ask("dciodvfy", "-new", study.seg)) == []
    assert errors_of(ask("dciodvfy", "-new", study.sr)) == []


# Of the default kind all orientations are judged, above and below.
@pytest.mark.parametrize("study", [pytest.param(OBLIQUE, id="oblique")], indirect=True)
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(SegConfig(type="labelmap"), id="label map"),
        pytest.param(SegConfig(type="labelmap", compression="rle"), id="label map, RLE"),
        pytest.param(SegConfig(type="labelmap", compression="jpeg-ls"), id="label map, JPEG-LS"),
        pytest.param(SegConfig(omit_empty_frames=False), id="all frames"),
        pytest.param(SegConfig(empty_segments="keep"), id="all segments"),
        pytest.param(SegConfig(compression="deflate"), id="deflated"),
    ],
)
def test_other_kinds_of_segmentation_pass_as_well(study, tmp_path, options):
    other = write_results(study.made, study.ct, tmp_path, options)

    if options.compression == "deflate":
        # dciodvfy reads no deflated data set; DCMTK does, and dcmqi by it.
        plain = tmp_path / "plain.dcm"
        assert ask("dcmconv", "+te", other.seg, plain, system=True).returncode == 0
        assert errors_of(ask("dciodvfy", "-new", plain)) == []
    else:
        plain = other.seg
        assert errors_of(ask("dciodvfy", "-new", plain)) == []
    # dciodvfy knows Label Map Segmentation, yet not that reports refer to its segments as well.
    assert [
        line
        for line in errors_of(ask("dciodvfy", "-new", other.sr))
        if options.type == "binary" or "for Referenced SOP Class that is not segm" not in line
    ] == []
    assert errors_of(ask("dcentvfy", *other.ct, plain, other.sr)) == []
    # DCMTK takes JPEG-LS Lossless for lossy and refuses the object.
    if options.compression != "jpeg-ls":
        assert_dcmqi_agrees(other, tmp_path, options)


@pytest.mark.parametrize("form", ["images", "multi-frame"])
def test_secondary_captures_pass(study, tmp_path, form):
    picture = np.random.default_rng(2).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    paths = []
    for number, capture in enumerate(
        encode_captures(
            [picture, picture],
            evidence=study.made.evidence,
            context=study.made.context,
            models=study.made.findings.models,
            options=ScConfig(form=form),
        )
    ):
        paths.append(tmp_path / f"sc{number}.dcm")
        capture.save_as(paths[-1], enforce_file_format=True)

    assert [errors_of(ask("dciodvfy", "-new", path)) for path in paths] == [[]] * len(paths)
    assert errors_of(ask("dcentvfy", *study.ct, study.seg, study.sr, *paths)) == []


def test_dcentvfy_finds_the_study_consistent(study):
    done = ask("dcentvfy", *study.ct, study.seg, study.sr)

    assert errors_of(done) == []


def test_dcmqi_finds_the_same_voxels_at_the_same_place(study, tmp_path):
    assert_dcmqi_agrees(study, tmp_path)


def test_dcmqi_reads_the_same_volumes(study, tmp_path):
    out = tmp_path / "measurements.json"

    done = ask("tid1500reader", "--inputDICOM", study.sr, "--outputMetadata", out)

    assert done.returncode == 0, done.stderr
    groups = {each["TrackingIdentifier"]: each for each in read_json(out)["Measurements"]}
    for segment in study.made.findings.segments:
        [volume] = [
            item
            for item in groups[segment.label]["measurementItems"]
            if item["quantity"]["CodeMeaning"] == "Volume"
        ]
        assert float(volume["value"]) == pytest.approx(segment.volume_ml, rel=1e-4)
        assert volume["units"]["CodeValue"] == "mL"
    assert groups["Left lung"]["Laterality"]["CodeMeaning"] == "Left"
    assert groups["Right lung"]["ReferencedSegment"] == 2


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(SegConfig(), id="default"),
        pytest.param(SegConfig(omit_empty_frames=False), id="all frames"),
        pytest.param(SegConfig(empty_segments="keep"), id="all segments"),
    ],
)
def test_segments_that_overlap_pass_with_all_of_their_voxels(tmp_path, options):
    ct = make_series(tmp_path / "ct", orientation=OBLIQUE, seed=11)
    overlapping = write_results(make_overlapping(ct), ct, tmp_path, options)

    assert errors_of(ask("dciodvfy", "-new", overlapping.seg)) == []
    assert errors_of(ask("dciodvfy", "-new", overlapping.sr)) == []
    assert errors_of(ask("dcentvfy", *ct, overlapping.seg, overlapping.sr)) == []
    assert_dcmqi_agrees(overlapping, tmp_path, options)


def test_dcmtk_reads_the_report(study):
    done = ask("dsrdump", "-Er", "+Pl", study.sr, system=True)

    assert done.returncode == 0
    lines = (done.stdout + done.stderr).splitlines()
    assert [line for line in lines if line.startswith(("E:", "F:"))] == []
    assert "Research use only. Not for diagnosis." in done.stdout
    assert "Referenced Segment" in done.stdout


def test_a_negative_report_passes_as_well(study, tmp_path):
    segments = tuple(
        replace(each, volume_ml=0.0, measurements=()) for each in study.made.findings.segments
    )
    findings = replace(
        study.made.findings, segments=segments, classifications=(), guards=(NO_LUNGS,)
    )
    report = encode_report(
        findings, evidence=study.made.evidence, segmentation=None, context=study.made.context
    )
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)

    assert errors_of(ask("dciodvfy", "-new", tmp_path / "sr.dcm")) == []
    assert ask("dsrdump", "-Er", tmp_path / "sr.dcm", system=True).returncode == 0
    out = tmp_path / "m.json"
    done = ask("tid1500reader", "--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", out)
    assert done.returncode == 0, done.stderr


def test_a_refusal_passes_as_well(study, tmp_path):
    report = encode_refusal(
        reason="missing_slices",
        sentence="A slice is missing.",
        evidence=study.made.evidence,
        context=study.made.context,
    )
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)

    assert errors_of(ask("dciodvfy", "-new", tmp_path / "sr.dcm")) == []
    shown = ask("dsrdump", "-Er", "+Pl", tmp_path / "sr.dcm", system=True)
    assert shown.returncode == 0
    assert "This series was not analyzed. A slice is missing." in shown.stdout
    assert errors_of(ask("dcentvfy", *study.ct, tmp_path / "sr.dcm")) == []


def test_the_reports_are_by_their_template(tmp_path):
    ct = make_series(tmp_path / "ct", seed=11)
    made = make_findings(ct)
    study = write_results(made, ct, tmp_path)
    refusal = encode_refusal(
        reason="missing_slices",
        sentence="A slice is missing.",
        evidence=made.evidence,
        context=made.context,
    )
    refusal.save_as(tmp_path / "refusal.dcm", enforce_file_format=True)
    # Each takes seconds of one core.
    with ThreadPoolExecutor() as judges:
        found = list(judges.map(template_errors_of, [study.sr, tmp_path / "refusal.dcm"]))
    assert found == [[], []]


def test_the_template_judge_is_awake(tmp_path):
    """A planted fault: no tracking identifier's text where TID 1411 wants a coded finding."""
    ct = make_series(tmp_path / "ct", seed=11)
    study = write_results(make_findings(ct), ct, tmp_path)
    report = pydicom.dcmread(study.sr)
    [measurements] = [
        each
        for each in report.ContentSequence
        if each.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    ]
    group = measurements.ContentSequence[0]
    group.ContentSequence = [
        each
        for each in group.ContentSequence
        if each.ConceptNameCodeSequence[0].CodeMeaning != "Referenced Segment"
    ]
    report.save_as(study.sr)

    assert any("Template 1411" in line for line in template_errors_of(study.sr))


@pytest.mark.cases
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("lidc-idri-0001", id="no patient name, a Frame of Reference a slice"),
        pytest.param("cmb-crc-msb-01068-lung", id="references that are not there"),
    ],
)
def test_a_real_chest_passes(cases, tmp_path, name):
    """With a crude mask: patients feet first."""
    with tarfile.open(cases / "chest" / f"{name}.tar.xz") as archive:
        archive.extractall(tmp_path / "ct", filter="data")
    headers = {
        path: pydicom.dcmread(path, specific_tags=["ImagePositionPatient"], stop_before_pixels=True)
        for path in (tmp_path / "ct").rglob("*.dcm")
    }
    # Row x column cosines of this series point to the head.
    ct = sorted(headers, key=lambda path: float(headers[path].ImagePositionPatient[2]))
    stored = np.stack([pydicom.dcmread(path).pixel_array for path in ct])
    # Rescale Intercept is -1024.
    air = (stored[:, 150:350] < 524) & (stored[:, 150:350] > 24)
    labels = np.zeros(stored.shape, np.uint8)
    labels[:, 150:350, 280:440][air[:, :, 280:440]] = LEFT_LUNG
    labels[:, 150:350, 80:240][air[:, :, 80:240]] = RIGHT_LUNG

    study = write_results(make_findings(ct, labels=labels), ct, tmp_path)

    assert errors_of(ask("dciodvfy", "-new", study.seg)) == []
    assert errors_of(ask("dciodvfy", "-new", study.sr)) == []
    assert_dcmqi_agrees(study, tmp_path)
    ours = [
        line
        for line in errors_of(ask("dcentvfy", *ct, study.seg, study.sr))
        if "seg.dcm" in line or "sr.dcm" in line
        # LIDC's slices name a Frame of Reference each, so that no SEG can agree with them all.
        if "FrameOfReferenceUID" not in line
    ]
    assert ours == []


def read_json(path: Path) -> dict[str, list[dict[str, object]]]:
    content: dict[str, list[dict[str, object]]] = json.loads(path.read_text())
    return content
