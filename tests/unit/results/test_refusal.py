from __future__ import annotations

import io

import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.errors import MissingSlices, ResultError
from dicomnode.results.refusal import encode_refusal
from dicomnode.standard.sop_classes import COMPREHENSIVE_3D_SR, CT_IMAGE

SENTENCE = "Between slices 3 and 4 lie 10 mm, elsewhere 5 mm."


def bare(**attributes) -> Dataset:
    """An instance with no more than can be referred to."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID, made.StudyInstanceUID = CT_IMAGE, "1.2.3", "1.2"
    made.update(attributes)
    return made


def refuse(evidence, context) -> Dataset:
    report = encode_refusal(
        reason=MissingSlices.reason, sentence=SENTENCE, evidence=evidence, context=context
    )
    buffer = io.BytesIO()
    report.save_as(buffer, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(buffer.getvalue()))


def texts(dataset: Dataset) -> list[str]:
    return [each.value for each in dataset.iterall() if each.keyword == "TextValue"]


def test_the_reason_is_given_as_a_code_and_in_words(made):
    report = refuse(made.evidence, made.context)

    assert report.SOPClassUID == COMPREHENSIVE_3D_SR
    assert report.SeriesDescription == "AI report (research use only): not analyzed"
    meanings = [each.value for each in report.iterall() if each.keyword == "CodeMeaning"]
    assert "missing slices" in meanings
    assert "No algorithms succeeded; without findings" in meanings
    assert f"This series was not analyzed. {SENTENCE}" in texts(report)
    assert "Research use only. Not for diagnosis." in texts(report)


def test_it_belongs_to_the_patient_and_names_what_was_received(made):
    report = refuse(made.evidence, made.context)

    assert report.PatientName == made.evidence[0].PatientName
    [study] = report.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == len(made.evidence)


def test_an_instance_with_nothing_but_its_uids_is_enough(made):
    report = refuse((bare(),), made.context)

    [study] = report.CurrentRequestedProcedureEvidenceSequence
    [series] = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == made.context.series_instance_uid


def test_instances_without_uids_are_left_out(made):
    nameless = bare()
    del nameless.SOPInstanceUID

    report = refuse((nameless, bare()), made.context)

    [study] = report.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 1


def test_nothing_to_refer_to_is_an_error(made):
    with pytest.raises(ResultError, match="found none among 1"):
        refuse((Dataset(),), made.context)


def test_malformed_values_do_not_stop_it(made, tmp_path):
    """Series Number and time zone of letters, a sequence where none belongs."""
    path = tmp_path / "odd"
    header = bare()
    header.add_new("SeriesInstanceUID", "UI", "1.2.9")
    raw = io.BytesIO()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    header.save_as(raw, enforce_file_format=True)
    element = b"\x20\x00\x11\x00IS\x04\x00abcd"
    path.write_bytes(raw.getvalue() + element)

    report = refuse((pydicom.dcmread(path),), made.context)

    assert report.SeriesNumber == 9002


def test_a_refusal_and_a_report_have_different_uids(made):
    again = refuse(made.evidence, made.context)

    assert again.SOPInstanceUID == refuse(made.evidence, made.context).SOPInstanceUID
