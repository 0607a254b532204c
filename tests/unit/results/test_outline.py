"""A report as text says what the report says, in its order, with values and units."""

from dataclasses import replace

import pytest

from dicomnode.errors import ResultError
from dicomnode.results.outline import write_outline
from dicomnode.results.part10 import encode_part10
from dicomnode.results.refusal import encode_refusal
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from tests.support.ct import make_series
from tests.support.findings import NO_LUNGS, make_findings


@pytest.fixture
def made(tmp_path):
    paths = make_series(
        tmp_path / "ct", PatientName="Doe^Jane=\u5c71\u7530", SpecificCharacterSet="ISO_IR 192"
    )
    return make_findings(paths)


def outline(made, folder):
    seg = encode_segmentation(
        made.findings,
        volume_sources=made.sources,
        evidence=made.evidence,
        context=made.context,
    )
    report = encode_report(
        made.findings, evidence=made.evidence, segmentation=seg, context=made.context
    )
    path = folder / "sr.dcm"
    path.write_bytes(encode_part10(report))
    return write_outline(path)


def test_it_begins_with_patient_and_report(made, tmp_path):
    lines = outline(made, tmp_path).splitlines()

    assert lines[0] == "Patient: Doe Jane \u5c71\u7530"
    assert "Report: AI report (research use only)" in lines
    assert "Verification: UNVERIFIED" in lines


def test_items_are_indented_as_they_are_nested(made, tmp_path):
    lines = outline(made, tmp_path).splitlines()

    root = lines.index("Oncology Measurement Report")
    assert lines[root - 1] == ""
    group = lines.index("    Measurement Group")
    assert lines[group + 1] == "      Tracking Identifier: Left lung"
    assert "      Attenuation Coefficient: -812.35 Hounsfield unit" in lines
    assert "        Derivation: Mean" in lines


def test_values_come_with_units_codes_with_meanings_and_segments_with_numbers(made, tmp_path):
    text = outline(made, tmp_path)

    assert "Percent opacity: 3.21 percent" in text
    assert "Opacity burden: Mild" in text
    assert "Segmentation Storage, segment 1, 2.25." in text
    assert "no value" not in text


def test_what_was_measured_in_vain_has_no_value(made, tmp_path):
    [volume, mean] = made.findings.segments[0].measurements
    segment = replace(
        made.findings.segments[0], measurements=(volume, replace(mean, value=float("nan")))
    )
    changed = replace(
        made,
        findings=replace(made.findings, segments=(segment, *made.findings.segments[1:])),
    )

    text = outline(changed, tmp_path)

    assert "nan" not in text.lower()


def test_guards_are_in_it_in_words(made, tmp_path):
    changed = replace(made, findings=replace(made.findings, guards=(NO_LUNGS,), classifications=()))

    assert NO_LUNGS.sentence in outline(changed, tmp_path)


def test_images_that_follow_one_another_are_counted(made, tmp_path):
    report = encode_refusal(
        reason="missing_slices",
        sentence="Two slices are missing.",
        evidence=made.evidence,
        context=made.context,
    )
    path = tmp_path / "sr.dcm"
    path.write_bytes(encode_part10(report))

    text = write_outline(path)

    assert "This series was not analyzed. Two slices are missing." in text
    assert len(text.splitlines()) < 60


def test_what_is_no_report_is_refused(tmp_path):
    path = tmp_path / "sr.dcm"
    path.write_bytes(b"no DICOM")

    with pytest.raises(ResultError, match="cannot be read: InvalidDicomError"):
        write_outline(path)
