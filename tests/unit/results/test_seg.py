"""A SEG as a whole: whose it is, what it is made from, and what it is not made from."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.errors import ResultError
from dicomnode.model.findings import LabelMap
from dicomnode.model.volume import VolumeGeometry
from dicomnode.results.seg import encode_segmentation
from dicomnode.standard.sop_classes import SEGMENTATION
from tests.support.ct import SHAPE_KJI, SPACING_KJI_MM, make_series
from tests.support.findings import make_findings, make_segments
from tests.support.segs import encode, to_bytes


def test_evidence_in_any_order_gives_the_same_object(made):
    assert encode(made) == encode(made, evidence=made.evidence[::-1])


def test_repeating_gives_the_same_bytes(made):
    def once() -> bytes:
        return to_bytes(
            encode_segmentation(
                made.findings,
                volume_sources=made.sources,
                evidence=made.evidence,
                context=made.context,
            )
        )

    assert once() == once()


def test_no_voxel_at_all_makes_no_object(made):
    labels = np.zeros(SHAPE_KJI, np.uint8)
    geometry = made.findings.label_map.geometry
    empty = replace(
        made.findings,
        label_map=LabelMap(labels=labels, geometry=geometry),
        segments=make_segments(labels, geometry.voxel_volume_ml),
    )

    assert (
        encode_segmentation(
            empty, volume_sources=made.sources, evidence=made.evidence, context=made.context
        )
        is None
    )


def test_the_object_belongs_to_the_patient_study_and_space_of_its_source(made):
    segmentation = encode(made)
    source = made.evidence[0]

    assert segmentation.SOPClassUID == SEGMENTATION
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert segmentation[keyword].value == source[keyword].value
    assert segmentation.SeriesInstanceUID != source.SeriesInstanceUID
    assert segmentation.SeriesNumber == 2001
    assert segmentation.SeriesDescription == "AI segmentation (research): Left lung, Right lung"
    assert segmentation.ContentLabel == "COVID_CT"
    assert (segmentation.Rows, segmentation.Columns) == SHAPE_KJI[1:]
    [series] = segmentation.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.SeriesInstanceUID
    referred = [each.ReferencedSOPInstanceUID for each in series.ReferencedInstanceSequence]
    assert referred == [each.SOPInstanceUID for each in made.evidence]
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(SPACING_KJI_MM[0])
    assert [float(each) for each in measures.PixelSpacing] == list(SPACING_KJI_MM[1:])


def test_times_are_those_of_the_analysis(made):
    segmentation = encode(made)

    assert segmentation.ContentDate == segmentation.InstanceCreationDate == "20260304"
    assert segmentation.ContentTime == segmentation.InstanceCreationTime == "050607.000089"


def test_times_are_in_the_zone_of_the_source(tmp_path):
    made = make_findings(make_series(tmp_path, TimezoneOffsetFromUTC="-0600"))

    segmentation = encode(made)

    assert segmentation.TimezoneOffsetFromUTC == "-0600"
    assert (segmentation.ContentDate, segmentation.ContentTime[:4]) == ("20260303", "2306")


def test_every_algorithm_is_contributing_equipment(made):
    scanner, lung, burden = encode(made).ContributingEquipmentSequence

    assert scanner.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Acquisition Equipment"
    assert scanner.ManufacturerModelName == "Thorax phantom"
    assert lung.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Processing Equipment"
    assert [each.ManufacturerModelName for each in (lung, burden)] == [
        "lung-classical",
        "opacity-burden",
    ]
    assert lung.DeviceUID != burden.DeviceUID


def test_a_source_without_a_frame_of_reference_gets_one_made_for_its_series(tmp_path):
    made = make_findings(make_series(tmp_path, FrameOfReferenceUID=None))

    first, second = encode(made), encode(made, context=replace(made.context, revision=2))

    assert first.FrameOfReferenceUID == second.FrameOfReferenceUID
    assert first.FrameOfReferenceUID.startswith("2.25.")


def test_a_source_without_optional_attributes_is_enough(tmp_path):
    left_out = dict.fromkeys(
        (
            "SpecificCharacterSet",
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "StudyDate",
            "StudyTime",
            "StudyID",
            "AccessionNumber",
            "ReferringPhysicianName",
            "PositionReferenceIndicator",
            "Manufacturer",
            "SeriesNumber",
            "SliceThickness",
        )
    )
    made = make_findings(make_series(tmp_path, **left_out))

    segmentation = encode(made)

    assert segmentation["PatientName"].is_empty
    assert segmentation["StudyDate"].is_empty
    assert segmentation.SeriesNumber == 9001


def test_values_that_the_standard_does_not_know_are_taken_over_as_they_are(tmp_path):
    made = make_findings(make_series(tmp_path, PatientSex="X", PatientBirthDate="1970"))

    segmentation = encode(made)

    assert segmentation.PatientSex == "X"
    assert segmentation.get_item("PatientBirthDate").value == b"1970"


def test_a_label_map_in_another_slice_order_is_refused(made):
    with pytest.raises(ResultError, match=r"slice 0 of the label map lies 20\.00 mm"):
        encode(made, sources=made.sources[::-1])


def test_a_label_map_whose_rows_run_otherwise_is_refused(made):
    geometry = made.findings.label_map.geometry
    affine = geometry.affine_ijk_to_lps.copy()
    affine[:3, [0, 1]] = affine[:3, [1, 0]]
    labels = made.findings.label_map.labels
    swapped = LabelMap(
        labels=labels,
        geometry=VolumeGeometry(shape_kji=geometry.shape_kji, affine_ijk_to_lps=affine),
    )

    with pytest.raises(ResultError, match="run otherwise"):
        encode(made, findings=replace(made.findings, label_map=swapped))


def test_a_source_that_is_not_among_the_evidence_is_refused(made):
    with pytest.raises(ResultError, match="slice 8 is not among the evidence"):
        encode(made, evidence=made.evidence[:-1])


def test_a_source_without_a_position_is_refused(tmp_path):
    made = make_findings(make_series(tmp_path))
    del made.evidence[4].ImagePositionPatient

    with pytest.raises(ResultError, match="ImagePositionPatient in the source of slice 4"):
        encode(made)


@pytest.mark.parametrize("lossy_slice", [0, 5])
def test_loss_in_any_source_is_told(tmp_path, lossy_slice):
    made = make_findings(make_series(tmp_path))
    made.evidence[lossy_slice].LossyImageCompression = "01"
    made.evidence[lossy_slice].LossyImageCompressionRatio = "12.5"
    made.evidence[lossy_slice].LossyImageCompressionMethod = "ISO_15444_1"

    segmentation = encode(made)

    assert segmentation.LossyImageCompression == "01"
    assert segmentation.LossyImageCompressionRatio == 12.5
