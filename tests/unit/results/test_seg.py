"""A label map must come back from the SEG on the very slices it was made on."""

from __future__ import annotations

import copy
import io
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicomnode.config import SegConfig
from dicomnode.errors import ResultError
from dicomnode.imaging.volume import read_series
from dicomnode.model.findings import Findings, LabelMap
from dicomnode.model.volume import SourceFrame, VolumeGeometry
from dicomnode.results.evidence import ResultContext, read_evidence
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.seg_options import fitting_options
from dicomnode.results.segments import segment_numbers
from dicomnode.results.shown import read_segmentation
from dicomnode.standard import codes
from dicomnode.standard.sop_classes import (
    ENHANCED_CT_IMAGE,
    LABEL_MAP_SEGMENTATION,
    LEGACY_CONVERTED_ENHANCED_CT_IMAGE,
    SEG_TRANSFER_SYNTAXES,
    SEGMENTATION,
)
from tests.support.ct import OBLIQUE, ORIGIN_LPS, SHAPE_KJI, SPACING_KJI_MM, make_series
from tests.support.findings import (
    EMPTY,
    LEFT_LUNG,
    LESION,
    RIGHT_LUNG,
    STARTED_AT,
    Made,
    make_findings,
    make_overlapping,
    make_segments,
    phantom_labels,
)

FEET_FIRST = (-1, 0, 0, 0, 1, 0)
"""Row x column cosines point to the feet: slice order runs downward."""
SAGITTAL = (0, 1, 0, 0, 0, -1)
ORIENTATIONS = [
    pytest.param((1, 0, 0, 0, 1, 0), id="axial"),
    pytest.param(FEET_FIRST, id="feet first"),
    pytest.param((1, 0, 0, 0, -1, 0), id="prone"),
    pytest.param(SAGITTAL, id="sagittal"),
    pytest.param((1, 0, 0, 0, 0, -1), id="coronal"),
    pytest.param(OBLIQUE, id="oblique"),
]


def encode(made: Made, **changes) -> Dataset:
    """Encode, write and read back, as a PACS gets it."""
    segmentation = encode_segmentation(
        changes.pop("findings", made.findings),
        volume_sources=changes.pop("sources", made.sources),
        evidence=changes.pop("evidence", made.evidence),
        context=changes.pop("context", made.context),
        **changes,
    )
    assert segmentation is not None
    return pydicom.dcmread(io.BytesIO(to_bytes(segmentation)))


def to_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def frames_by_source(segmentation: Dataset) -> dict[tuple[str, int | None, int], np.ndarray]:
    """(SOP Instance UID, frame, Segment Number) of the source -> the frame's pixels."""
    pixels = np.atleast_3d(segmentation.pixel_array)
    found = {}
    for index, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        frame = source.get("ReferencedFrameNumber")
        found[source.ReferencedSOPInstanceUID, frame, number] = pixels[index]
    return found


def labels_from(segmentation: Dataset, sources, numbers: dict[int, int], shape) -> np.ndarray:
    """Put the label map together again by the references to the sources alone."""
    back = np.zeros(shape, np.uint8)
    frames = frames_by_source(segmentation)
    for k, source in enumerate(sources):
        for label, number in numbers.items():
            frame = frames.get((source.sop_instance_uid, source.frame_number, number))
            if frame is not None:
                back[k][frame > 0] = label
    return back


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_frame_lies_on_the_source_it_was_made_from(tmp_path, orientation):
    made = make_findings(make_series(tmp_path, orientation=orientation))

    segmentation = encode(made)

    numbers = segment_numbers(made.findings)
    back = labels_from(segmentation, made.sources, numbers, SHAPE_KJI)
    np.testing.assert_array_equal(back, made.findings.label_map.labels)
    positions = {each.SOPInstanceUID: each.ImagePositionPatient for each in made.evidence}
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        found = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(found, positions[source.ReferencedSOPInstanceUID], atol=1e-9)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_another_reader_finds_the_labels_at_the_same_place_in_the_patient(tmp_path, orientation):
    """highdicom's own volume, whatever its order of axes, against our geometry."""
    made = make_findings(make_series(tmp_path, orientation=orientation))
    path = tmp_path / "seg"
    path.write_bytes(to_bytes(encode(made)))

    volume = highdicom.seg.segread(path).get_volume(combine_segments=True)

    theirs = volume.array.squeeze()
    index = np.argwhere(theirs == 2)
    lps = volume.map_indices_to_reference(index.astype(float))
    affine = made.findings.label_map.geometry.affine_ijk_to_lps
    ours = np.linalg.inv(affine) @ np.c_[lps, np.ones(len(lps))].T
    found = {tuple(each) for each in np.round(ours[2::-1].T).astype(int)}
    wanted = {tuple(each) for each in np.argwhere(made.findings.label_map.labels == RIGHT_LUNG)}
    assert wanted == found


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


def test_segments_without_a_voxel_are_left_out_and_the_rest_is_numbered_from_one(made):
    segmentation = encode(made)

    assert segment_numbers(made.findings) == {LEFT_LUNG: 1, RIGHT_LUNG: 2}
    described = [(each.SegmentNumber, each.SegmentLabel) for each in segmentation.SegmentSequence]
    assert described == [(1, "Left lung"), (2, "Right lung")]
    assert segmentation.SegmentsOverlap == "NO"


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


def test_a_segment_says_what_it_is_and_who_made_it(made):
    left = encode(made).SegmentSequence[0]

    assert left.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    kind = left.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("39607008", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert left.SegmentAlgorithmType == "AUTOMATIC"
    assert left.SegmentAlgorithmName == "lung-classical"
    algorithm = left.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "1.2"
    assert algorithm.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    assert "0f" * 32 in algorithm.AlgorithmParameters
    assert left.TrackingID == "Left lung"
    assert left.TrackingUID.startswith("2.25.")
    shown = CIELabColor.from_dicom_value(left.RecommendedDisplayCIELabValue).to_rgb()
    np.testing.assert_allclose(shown, (80, 160, 255), atol=2)


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


def test_empty_frames_are_left_out_unless_wanted(made):
    sparse, full = encode(made), encode(made, options=SegConfig(omit_empty_frames=False))

    assert sparse.NumberOfFrames < full.NumberOfFrames == 2 * SHAPE_KJI[0]
    numbers = segment_numbers(made.findings)
    back = labels_from(full, made.sources, numbers, SHAPE_KJI)
    np.testing.assert_array_equal(back, made.findings.label_map.labels)


def test_a_tilted_gantry_keeps_the_positions_of_its_slices(tmp_path):
    """Positions step obliquely to the slice normal; Spacing Between Slices is along the normal."""
    x, y, z = ORIGIN_LPS
    made = make_findings(
        make_series(
            tmp_path,
            orientation=(1, 0, 0, 0, 0.96, 0.28),
            ImagePositionPatient=lambda k: [f"{x}", f"{y}", f"{z + 2.5 * k}"],
        )
    )

    segmentation = encode(made)

    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == pytest.approx(2.5 * 0.96)
    back = labels_from(segmentation, made.sources, segment_numbers(made.findings), SHAPE_KJI)
    np.testing.assert_array_equal(back, made.findings.label_map.labels)


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


def enhanced(made: Made, instances: int) -> tuple[tuple[SourceFrame, ...], tuple[Dataset, ...]]:
    """Rebuild single-frame headers as multi-frame instances, frames in reverse slice order."""
    sources: list[SourceFrame] = []
    evidence = []
    per_instance = -(-len(made.evidence) // instances)
    for start in range(0, len(made.evidence), per_instance):
        part = made.evidence[start : start + per_instance]
        header = Dataset()
        header.update({each.tag: copy.copy(each) for each in part[0] if each.tag.group != 0x0020})
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            setattr(header, keyword, part[0].get(keyword))
        header.SOPClassUID = ENHANCED_CT_IMAGE
        header.SOPInstanceUID = f"1.2.3.{start}"
        shared = Dataset()
        orientation, measures = Dataset(), Dataset()
        orientation.ImageOrientationPatient = part[0].ImageOrientationPatient
        measures.PixelSpacing = part[0].PixelSpacing
        shared.PlaneOrientationSequence = [orientation]
        shared.PixelMeasuresSequence = [measures]
        header.SharedFunctionalGroupsSequence = [shared]
        header.PerFrameFunctionalGroupsSequence = []
        for each in reversed(part):
            group, position = Dataset(), Dataset()
            position.ImagePositionPatient = each.ImagePositionPatient
            group.PlanePositionSequence = [position]
            header.PerFrameFunctionalGroupsSequence.append(group)
        evidence.append(header)
        sources.extend(
            SourceFrame(
                sop_class_uid=ENHANCED_CT_IMAGE,
                sop_instance_uid=header.SOPInstanceUID,
                frame_number=len(part) - index,
            )
            for index in range(len(part))
        )
    return tuple(sources), tuple(evidence)


@pytest.mark.parametrize("instances", [1, 2])
def test_frames_of_multi_frame_sources_are_referred_to_by_number(made, instances):
    sources, evidence = enhanced(made, instances)

    segmentation = encode(made, sources=sources, evidence=evidence)

    back = labels_from(segmentation, sources, segment_numbers(made.findings), SHAPE_KJI)
    np.testing.assert_array_equal(back, made.findings.label_map.labels)
    [series] = segmentation.ReferencedSeriesSequence
    assert len(series.ReferencedInstanceSequence) == instances
    assert series.ReferencedInstanceSequence[0].ReferencedSOPClassUID == ENHANCED_CT_IMAGE


@pytest.mark.parametrize("instances", [1, 2])
def test_frames_of_multi_frame_sources_are_found_again(made, instances, tmp_path):
    sources, evidence = enhanced(made, instances)
    path = tmp_path / "seg.dcm"
    path.write_bytes(to_bytes(encode(made, sources=sources, evidence=evidence)))
    geometry = made.findings.label_map.geometry

    back, _segments = read_segmentation(path, sources=sources, geometry=geometry)

    numbers = segment_numbers(made.findings)
    wanted = np.zeros(256, np.uint8)
    wanted[list(numbers)] = list(numbers.values())
    np.testing.assert_array_equal(back.labels, wanted[made.findings.label_map.labels])


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


def test_a_label_that_nobody_describes_is_refused(made):
    labels = phantom_labels(SHAPE_KJI)
    labels[3, 3, 3] = 3
    strange = LabelMap(labels=labels, geometry=made.findings.label_map.geometry)

    with pytest.raises(ResultError, match=r"holds \[3\], described are \[1, 2, 4\]"):
        encode(made, findings=replace(made.findings, label_map=strange))


def test_a_source_without_a_position_is_refused(tmp_path):
    made = make_findings(make_series(tmp_path))
    del made.evidence[4].ImagePositionPatient

    with pytest.raises(ResultError, match="ImagePositionPatient in the source of slice 4"):
        encode(made)


LABELMAP_PACKINGS = ["none", "deflate", "rle", "jpeg-ls", "jpeg-2000"]


@pytest.mark.parametrize("compression", LABELMAP_PACKINGS)
def test_a_label_map_says_the_same_in_one_frame_a_slice(tmp_path, compression):
    shape_kji = (9, 35, 43)  # JPEG 2000 wants 32 rows and columns
    made = make_findings(make_series(tmp_path, shape_kji=shape_kji))

    segmentation = encode(made, options=SegConfig(type="labelmap", compression=compression))

    assert segmentation.SOPClassUID == LABEL_MAP_SEGMENTATION
    assert segmentation.file_meta.TransferSyntaxUID == SEG_TRANSFER_SYNTAXES[compression]
    numbers = segment_numbers(made.findings)
    back = np.zeros(shape_kji, np.uint8)
    order = {source.sop_instance_uid: k for k, source in enumerate(made.sources)}
    groups = segmentation.PerFrameFunctionalGroupsSequence
    for frame, group in zip(segmentation.pixel_array, groups, strict=True):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        for label, number in numbers.items():
            back[order[source.ReferencedSOPInstanceUID]][frame == number] = label
        assert "SegmentIdentificationSequence" not in group
    np.testing.assert_array_equal(back, made.findings.label_map.labels)
    # Segment 0 describes the background; OHIF gives wrong colors where it comes first.
    assert [each.SegmentNumber for each in segmentation.SegmentSequence] == [1, 2, 0]


def test_a_matrix_that_the_encoder_refuses_is_named(made):
    with pytest.raises(ResultError, match=r"cannot be written in 1\.2\.840\.10008\.1\.2\.4\.90"):
        encode(made, options=SegConfig(type="labelmap", compression="jpeg-2000"))


def test_only_frames_at_even_distances_along_their_normal_claim_to_be_a_volume(made, tmp_path):
    options = SegConfig(type="labelmap")
    tilted = make_findings(
        make_series(
            tmp_path,
            orientation=(1, 0, 0, 0, 0.96, 0.28),
            ImagePositionPatient=lambda k: ["0", "0", f"{2.5 * k}"],
        )
    )
    labels = made.findings.label_map.labels.copy()
    labels[3] = 0
    gap = replace(
        made.findings,
        label_map=LabelMap(labels=labels, geometry=made.findings.label_map.geometry),
    )

    assert encode(made, options=options).DimensionOrganizationType == "3D"
    assert "DimensionOrganizationType" not in encode(tilted, options=options)
    assert "DimensionOrganizationType" not in encode(made, findings=gap, options=options)


def test_a_deflated_object_is_the_same_object(made):
    plain, deflated = encode(made), encode(made, options=SegConfig(compression="deflate"))

    assert deflated.file_meta.TransferSyntaxUID.is_deflated
    assert plain == deflated


def test_objects_that_say_something_else_have_other_uids(made):
    options = [
        SegConfig(),
        SegConfig(type="labelmap"),
        SegConfig(omit_empty_frames=False),
        SegConfig(empty_segments="keep"),
        SegConfig(omit_empty_frames=False, empty_segments="keep"),
    ]

    made_of = [encode(made, options=each) for each in options]

    assert len({each.SOPInstanceUID for each in made_of}) == len(options)
    assert len({each.SeriesInstanceUID for each in made_of}) == len(options)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_empty_segments_are_kept_on_request_and_have_frames_to_be_looked_at(made, kind):
    options = SegConfig(type=kind, empty_segments="keep")

    segmentation = encode(made, options=options)

    labels = [each.SegmentLabel for each in segmentation.SegmentSequence if each.SegmentNumber]
    assert labels == ["Left lung", "Effusion", "Right lung"]
    assert segment_numbers(made.findings, options) == {LEFT_LUNG: 1, EMPTY: 2, RIGHT_LUNG: 3}
    if kind == "binary":
        frames = frames_by_source(segmentation)
        of_empty = {source for source, _, number in frames if number == 2}
        assert of_empty == {source for source, _, _ in frames}
        assert not any(pixels.any() for (_, _, n), pixels in frames.items() if n == 2)


def test_no_voxel_at_all_makes_no_object_even_where_empty_segments_are_kept(made):
    empty = np.zeros(SHAPE_KJI, np.uint8)
    findings = replace(
        made.findings,
        label_map=LabelMap(labels=empty, geometry=made.findings.label_map.geometry),
    )

    assert (
        encode_segmentation(
            findings,
            volume_sources=made.sources,
            evidence=made.evidence,
            context=made.context,
            options=SegConfig(empty_segments="keep", omit_empty_frames=False),
        )
        is None
    )


def test_a_lesion_says_where_it_lies_and_on_which_side(made):
    left, *others = made.findings.segments
    lesion = replace(
        left,
        category=Code("49755003", "SCT", "Morphologically Abnormal Structure"),
        property_type=Code("4147007", "SCT", "Mass"),
        anatomic_region=codes.LUNG,
    )

    segment = encode(made, findings=replace(made.findings, segments=(lesion, *others)))[
        "SegmentSequence"
    ][0]

    [region] = segment.AnatomicRegionSequence
    assert region.CodeMeaning == "Lung"
    assert region.AnatomicRegionModifierSequence[0].CodeMeaning == "Left"
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert kind.CodeMeaning == "Mass"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in kind


@pytest.mark.parametrize("lossy_slice", [0, 5])
def test_loss_in_any_source_is_told(tmp_path, lossy_slice):
    made = make_findings(make_series(tmp_path))
    made.evidence[lossy_slice].LossyImageCompression = "01"
    made.evidence[lossy_slice].LossyImageCompressionRatio = "12.5"
    made.evidence[lossy_slice].LossyImageCompressionMethod = "ISO_15444_1"

    segmentation = encode(made)

    assert segmentation.LossyImageCompression == "01"
    assert segmentation.LossyImageCompressionRatio == 12.5


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_segments_that_overlap_keep_all_of_their_voxels(tmp_path, orientation):
    made = make_overlapping(make_series(tmp_path, orientation=orientation))
    label_map = made.findings.label_map

    segmentation = encode(made)

    assert segmentation.SegmentsOverlap == "YES"
    numbers = segment_numbers(made.findings)
    assert numbers == {LEFT_LUNG: 1, RIGHT_LUNG: 2, LESION: 3}
    frames = frames_by_source(segmentation)
    for label, number in numbers.items():
        wanted = label_map.values_of(label)[label_map.labels]
        for plane, source in zip(wanted, made.sources, strict=True):
            frame = frames.pop((source.sop_instance_uid, source.frame_number, number), None)
            assert (frame is None) == (not plane.any())
            if frame is not None:
                np.testing.assert_array_equal(frame, plane)
    assert not frames


def test_segments_that_overlap_are_no_label_map_and_become_binary_instead(tmp_path):
    made = make_overlapping(make_series(tmp_path))
    wanted = SegConfig(type="labelmap", compression="rle", empty_segments="keep")

    with pytest.raises(ResultError, match="do not overlap"):
        encode(made, options=wanted)

    fitting = fitting_options(wanted, made.findings)
    assert fitting == SegConfig(empty_segments="keep")
    assert len(encode(made, options=fitting).SegmentSequence) == 4


def test_a_label_map_may_be_where_overlaps_were_possible_and_none_is(made):
    possible = replace(made.findings.label_map, overlaps={9: (LEFT_LUNG, RIGHT_LUNG)})
    findings = replace(made.findings, label_map=possible)
    wanted = SegConfig(type="labelmap")

    assert fitting_options(wanted, findings) == wanted
    assert encode(made, findings=findings, options=wanted).SegmentsOverlap == "NO"
    assert encode(made, findings=findings).SegmentsOverlap == "NO"


def test_an_overlap_with_a_segment_that_nobody_describes_is_refused(tmp_path):
    made = make_overlapping(make_series(tmp_path))
    findings = replace(made.findings, segments=made.findings.segments[:-1])

    with pytest.raises(ResultError, match=r"holds \[5\]"):
        encode(made, findings=findings)


@pytest.mark.cases
def test_frames_of_a_real_multi_frame_ct_are_referred_to(cases):
    """dcmqi's Legacy Converted Enhanced CT of three slices."""
    folder = cases / "odd" / "multiframe-and-seg" / "dcmqi-24x38x3"
    [path] = [
        each
        for each in folder.rglob("*.dcm")
        if pydicom.dcmread(each, stop_before_pixels=True).SOPClassUID
        == LEGACY_CONVERTED_ENHANCED_CT_IMAGE
    ]
    found = read_series([path])
    labels = phantom_labels((9, *found.volume.geometry.shape_kji[1:]))[2:5]
    template = make_segments(labels, 0.001)
    evidence = read_evidence(found.paths)
    made = Made(
        findings=Findings(
            segments=template,
            label_map=LabelMap(labels=labels, geometry=found.volume.geometry),
            classifications=(),
            guards=(),
            models=(template[0].model,),
        ),
        sources=found.volume.sources,
        evidence=evidence,
        context=ResultContext(
            series_instance_uid=str(evidence[0].SeriesInstanceUID),
            revision=1,
            pipeline="covid-ct",
            pipeline_version="7",
            created=STARTED_AT,
        ),
    )

    segmentation = encode(made)

    numbers = segment_numbers(made.findings)
    back = labels_from(segmentation, made.sources, numbers, labels.shape)
    np.testing.assert_array_equal(back, labels)
    positions = [
        group.PlanePositionSequence[0].ImagePositionPatient
        for group in evidence[0].PerFrameFunctionalGroupsSequence
    ]
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPClassUID == LEGACY_CONVERTED_ENHANCED_CT_IMAGE
        wanted = positions[source.ReferencedFrameNumber - 1]
        found_at = group.PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(found_at, wanted, atol=1e-9)
