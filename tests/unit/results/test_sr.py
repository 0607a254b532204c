"""What a radiologist, a PACS and a program read in the report."""

from __future__ import annotations

import io
import math
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicomnode.config import ReportConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import Guard, LabelMap, Measurement
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.standard import codes as node_codes
from dicomnode.standard.sop_classes import COMPREHENSIVE_3D_SR
from tests.support.ct import SHAPE_KJI, make_series
from tests.support.findings import BURDEN_MODEL, CLASSIFICATION, NO_LUNGS, Made, make_findings


def segment(made: Made) -> Dataset | None:
    return encode_segmentation(
        made.findings, volume_sources=made.sources, evidence=made.evidence, context=made.context
    )


def encode(made: Made, *, with_segmentation: bool = True) -> Dataset:
    """Encode, write and read back, as a PACS gets it."""
    report = encode_report(
        made.findings,
        evidence=made.evidence,
        segmentation=segment(made) if with_segmentation else None,
        context=made.context,
    )
    return pydicom.dcmread(io.BytesIO(to_bytes(report)))


def to_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def items(container: Dataset, meaning: str) -> list[Dataset]:
    return [
        each
        for each in container.ContentSequence
        if each.ConceptNameCodeSequence[0].CodeMeaning == meaning
    ]


def groups(report: Dataset) -> dict[str, Dataset]:
    """Measurement groups by Tracking Identifier."""
    [measurements] = items(report, "Imaging Measurements")
    return {
        items(group, "Tracking Identifier")[0].TextValue: group
        for group in measurements.ContentSequence
    }


def comments(report: Dataset) -> list[str]:
    [container] = items(report, "Qualitative Evaluations")
    return [each.TextValue for each in items(container, "Comment")]


def summary(report: Dataset) -> str:
    [container] = items(report, "Qualitative Evaluations")
    [item] = items(container, "CAD Processing and Findings Summary")
    return item.ConceptCodeSequence[0].CodeMeaning


def numbers(group: Dataset) -> dict[str, tuple[float, str]]:
    found = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            [measured] = item.MeasuredValueSequence
            found[item.ConceptNameCodeSequence[0].CodeMeaning] = (
                float(measured.NumericValue),
                measured.MeasurementUnitsCodeSequence[0].CodeValue,
            )
    return found


def without_lungs(made: Made) -> Made:
    empty = np.zeros(SHAPE_KJI, np.uint8)
    findings = replace(
        made.findings,
        label_map=LabelMap(labels=empty, geometry=made.findings.label_map.geometry),
        segments=tuple(
            replace(each, volume_ml=0.0, measurements=(replace(each.measurements[0], value=0.0),))
            for each in made.findings.segments
        ),
        classifications=(),
        guards=(NO_LUNGS,),
    )
    return replace(made, findings=findings)


def test_the_document_is_a_measurement_report_that_nobody_has_verified(made):
    report = encode(made)

    assert report.SOPClassUID == COMPREHENSIVE_3D_SR
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert report.ConceptNameCodeSequence[0].CodeValue == "126001"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert (report.ContentDate, report.ContentTime) == ("20260304", "050607.000089")
    assert report.SeriesDescription == "AI report (research use only)"


def test_the_observer_is_a_device_with_a_uid_that_stays_the_same(made):
    first, second = encode(made), encode(replace(made, context=replace(made.context, revision=2)))

    assert items(first, "Observer Type")[0].ConceptCodeSequence[0].CodeMeaning == "Device"
    uids = [items(each, "Device Observer UID")[0].UID for each in (first, second)]
    assert uids[0] == uids[1]
    assert items(first, "Device Observer Name")[0].TextValue == "dicomnode 0.1.0"


def test_a_segment_is_reported_with_reference_site_side_and_numbers(made):
    segmentation = segment(made)
    right = groups(encode(made))["Right lung"]

    assert right.ContentTemplateSequence[0].TemplateIdentifier == "1411"
    [reference] = items(right, "Referenced Segment")
    [instance] = reference.ReferencedSOPSequence
    assert instance.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
    assert instance.ReferencedSegmentNumber == 2
    tracking = items(right, "Tracking Unique Identifier")[0].UID
    assert tracking == segmentation.SegmentSequence[1].TrackingUID
    [series] = items(right, "Source Series for Segmentation")
    assert made.evidence[0].SeriesInstanceUID == series.UID
    [site] = items(right, "Finding Site")
    assert site.ConceptCodeSequence[0].CodeMeaning == "Lung"
    assert items(site, "Laterality")[0].ConceptCodeSequence[0].CodeMeaning == "Right"
    assert numbers(right)["Volume"][1] == "mL"
    assert numbers(right)["Attenuation Coefficient"] == (-812.35, "[hnsf'U]")
    [mean] = items(right, "Attenuation Coefficient")
    assert items(mean, "Derivation")[0].ConceptCodeSequence[0].CodeMeaning == "Mean"
    assert items(right, "Algorithm Name")[0].TextValue == "lung-classical"
    assert "0f" * 32 in items(right, "Algorithm Parameters")[0].TextValue


def test_a_segment_that_was_not_found_is_said_so(made):
    effusion = groups(encode(made))["Effusion"]

    assert effusion.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert numbers(effusion)["Volume"] == (0.0, "mL")
    assert items(effusion, "Comment")[0].TextValue == "Effusion: looked for and not found."
    assert not items(effusion, "Finding Site")


def test_a_classification_is_reported_with_answer_scores_rule_and_algorithm(made):
    burden = groups(encode(made))["Opacity burden"]

    assert burden.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    [answer] = items(burden, "Opacity burden")
    assert answer.ConceptCodeSequence[0].CodeMeaning == "Mild"
    assert numbers(burden) == {
        "Percent opacity": (3.21, "%"),
        "Probability: none": (0.12346, "1"),
        "Probability: mild": (0.87654, "1"),
    }
    assert items(burden, "Comment")[0].TextValue == f"Rule: {CLASSIFICATION.rule}"
    assert items(burden, "Algorithm Version")[0].TextValue == BURDEN_MODEL.version


def test_every_report_says_that_it_is_for_research(made):
    assert comments(encode(made))[-1] == "Research use only. Not for diagnosis."


def test_guards_and_notes_are_in_plain_words(made):
    guard = Guard(name="lungs_touch_first_slice", sentence="The lungs are cut off.", blocks=False)
    findings = replace(made.findings, guards=(guard,), notes=("Compressed with loss.",))

    report = encode(replace(made, findings=findings))

    assert comments(report)[:2] == ["The lungs are cut off.", "Compressed with loss."]
    [container] = items(report, "Qualitative Evaluations")
    [limitation] = items(container, "Limitation of the analysis")
    assert limitation.ConceptCodeSequence[0].LongCodeValue == "lungs_touch_first_slice"
    assert summary(report) == "All algorithms succeeded; with findings"


def test_a_series_without_lungs_gets_a_report_that_says_why(made):
    negative = without_lungs(made)

    report = encode(negative)

    assert segment(negative) is None
    assert set(groups(report)) == {"Left lung", "Effusion", "Right lung"}
    assert comments(report)[0] == (
        "No lungs were found in this series. No classification was made for this reason."
    )
    assert summary(report) == "Not all algorithms succeeded; without findings"


def test_a_report_with_nothing_looked_for_still_has_an_outcome(made):
    empty = without_lungs(made)
    findings = replace(empty.findings, segments=(), guards=())

    report = encode(replace(empty, findings=findings))

    assert set(groups(report)) == {"Outcome of the analysis"}
    assert summary(report) == "All algorithms succeeded; without findings"


def test_without_a_segmentation_the_numbers_are_reported_all_the_same(made):
    left = groups(encode(made, with_segmentation=False))["Left lung"]

    assert left.ContentTemplateSequence[0].TemplateIdentifier == "1501"
    assert numbers(left)["Volume"][0] > 0
    assert not items(left, "Comment")


def test_a_number_that_could_not_be_computed_is_named_not_written(made):
    left, *others = made.findings.segments
    broken = replace(
        left,
        measurements=(left.measurements[0], replace(left.measurements[1], value=math.nan)),
    )
    findings = replace(made.findings, segments=(broken, *others))

    group = groups(encode(replace(made, findings=findings)))["Left lung"]

    assert set(numbers(group)) == {"Volume"}
    [comment] = items(group, "Comment")
    assert comment.TextValue == "Attenuation Coefficient could not be computed."


def test_all_sources_and_the_segmentation_are_evidence(made):
    [study] = encode(made).CurrentRequestedProcedureEvidenceSequence

    by_series = {
        each.SeriesInstanceUID: [
            item.ReferencedSOPInstanceUID for item in each.ReferencedSOPSequence
        ]
        for each in study.ReferencedSeriesSequence
    }
    segmentation = segment(made)
    assert by_series == {
        made.evidence[0].SeriesInstanceUID: [each.SOPInstanceUID for each in made.evidence],
        segmentation.SeriesInstanceUID: [segmentation.SOPInstanceUID],
    }


def test_segmentation_and_report_are_two_series_of_the_study(made):
    segmentation, report = segment(made), encode(made)

    assert segmentation.StudyInstanceUID == report.StudyInstanceUID
    assert segmentation.SeriesInstanceUID != report.SeriesInstanceUID
    assert (segmentation.SeriesNumber, report.SeriesNumber) == (2001, 2002)


@pytest.mark.parametrize(
    ("attributes", "meaning"),
    [
        ({}, "CT Chest"),
        ({"BodyPartExamined": "ABDOMEN"}, "CT unspecified body region"),
        ({"BodyPartExamined": None}, "CT unspecified body region"),
    ],
)
def test_the_procedure_is_what_was_scanned(tmp_path, attributes, meaning):
    report = encode(make_findings(make_series(tmp_path, **attributes)))

    [procedure] = items(report, "Procedure reported")
    assert procedure.ConceptCodeSequence[0].CodeMeaning == meaning


def test_the_procedure_code_of_the_source_comes_first(tmp_path):
    made = make_findings(make_series(tmp_path))
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "RPID16", "RADLEX"
    code.CodeMeaning = "CT Chest wo IV Contrast"
    for header in made.evidence:
        header.ProcedureCodeSequence = [code]

    report = encode(made)

    [procedure] = items(report, "Procedure reported")
    assert procedure.ConceptCodeSequence[0].CodeValue == "RPID16"
    assert report.ProcedureCodeSequence[0].CodeValue == "RPID16"


def test_a_made_up_frame_of_reference_is_owned_up_to(tmp_path):
    report = encode(make_findings(make_series(tmp_path, FrameOfReferenceUID=None)))

    assert "names one made for this series" in comments(report)[0]


def test_repeating_gives_the_same_bytes(made):
    def once() -> bytes:
        return to_bytes(
            encode_report(
                made.findings,
                evidence=made.evidence,
                segmentation=segment(made),
                context=made.context,
            )
        )

    assert once() == once()


def test_highdicom_reads_the_groups(made):
    content = highdicom.sr.Comprehensive3DSR.from_dataset(encode(made)).content

    assert len(content.get_volumetric_roi_measurement_groups()) == 2
    assert len(content.get_image_measurement_groups()) == 2


def test_no_evidence_is_an_error(made):
    with pytest.raises(ResultError, match="at least one source instance"):
        encode_report(made.findings, evidence=(), segmentation=None, context=made.context)


def test_a_graded_answer_names_the_score_that_it_begins_at(made):
    graded = replace(
        CLASSIFICATION, scores=(("burden", 31.5),), score_kind="percent", threshold=25.0
    )
    findings = replace(made.findings, classifications=(graded,))

    burden = groups(encode(replace(made, findings=findings)))["Opacity burden"]

    assert numbers(burden)["Score from which this class is given"] == (25.0, "%")
    assert numbers(burden)["Percent: burden"] == (31.5, "%")


def test_a_lesion_has_its_region_as_finding_site(made):
    left, *others = made.findings.segments
    lesion = replace(
        left,
        category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        property_type=Code("4147007", "SCT", "Mass"),
        anatomic_region=Code("39607008", "SCT", "Lung"),
    )
    findings = replace(made.findings, segments=(lesion, *others))

    group = groups(encode(replace(made, findings=findings)))["Left lung"]

    assert items(group, "Finding")[0].ConceptCodeSequence[0].CodeMeaning == "Mass"
    [site] = items(group, "Finding Site")
    assert site.ConceptCodeSequence[0].CodeMeaning == "Lung"
    assert items(site, "Laterality")[0].ConceptCodeSequence[0].CodeMeaning == "Left"


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, ("COMPLETE", "PRELIMINARY")),
        ({"completion": "partial"}, ("PARTIAL", "PRELIMINARY")),
        ({"preliminary": False}, ("COMPLETE", "FINAL")),
    ],
)
def test_flags_are_those_that_are_configured_and_never_verified(made, options, flags):
    report = encode_report(
        made.findings,
        evidence=made.evidence,
        segmentation=None,
        context=made.context,
        options=ReportConfig(**options),
    )

    assert (report.CompletionFlag, report.PreliminaryFlag) == flags
    assert report.VerificationFlag == "UNVERIFIED"


def test_reports_that_differ_have_other_uids(made):
    def uid(**changes) -> str:
        return str(
            encode_report(
                made.findings,
                evidence=made.evidence,
                segmentation=None,
                context=made.context,
                **changes,
            ).SOPInstanceUID
        )

    uids = [
        uid(),
        uid(variant="labelmap"),
        uid(options=ReportConfig(completion="partial")),
        uid(options=ReportConfig(preliminary=False)),
        uid(options=ReportConfig(completion="partial", preliminary=False)),
    ]
    assert len(set(uids)) == len(uids)
    assert uid() == uids[0]


def test_measurements_keep_unit_and_derivation_whatever_they_are(made):
    left, *others = made.findings.segments
    more = (
        Measurement(
            name=Code("percentile-15", "99DCMNODE", "15th percentile of radiodensity"),
            value=-934.25,
            unit=node_codes.unit("[hnsf'U]"),
        ),
        Measurement(
            name=Code("laa-950", "99DCMNODE", "Percentage below -950 HU"),
            value=7.125,
            unit=node_codes.unit("%"),
        ),
        Measurement(
            name=Code("112031", "DCM", "Attenuation Coefficient"),
            value=-850.0,
            unit=node_codes.unit("[hnsf'U]"),
            derivation=Code("373099004", "SCT", "Median"),
        ),
    )
    findings = replace(
        made.findings, segments=(replace(left, measurements=more + left.measurements), *others)
    )

    group = groups(encode(replace(made, findings=findings)))["Left lung"]

    found = numbers(group)
    assert found["15th percentile of radiodensity"] == (-934.25, "[hnsf'U]")
    assert found["Percentage below -950 HU"] == (7.125, "%")
    derivations = [
        items(each, "Derivation")[0].ConceptCodeSequence[0].CodeMeaning
        for each in items(group, "Attenuation Coefficient")
    ]
    assert derivations == ["Median", "Mean"]


def test_the_numbers_are_told_in_words_as_well(made):
    """OHIF shows the values of a report without their names."""
    told = comments(encode(made))

    volume = made.findings.segments[0].volume_ml
    assert f"Left lung: Volume {float(f'{volume:.5g}'):g} mL; " in told[0]
    assert told[0].endswith("Attenuation Coefficient (Mean) -812.35 HU.")
    assert told[2] == (
        "Opacity burden: Mild; none, probability 0.12346; mild, probability 0.87654; "
        "Percent opacity 3.21 %."
    )
    assert not any("Effusion" in each for each in told)
