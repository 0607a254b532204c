"""Each segment of a SEG says what it is, and has all of its voxels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from highdicom.color import CIELabColor
from pydicom.sr.coding import Code

from dicomnode.config import SegConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import LabelMap
from dicomnode.results.segments import segment_numbers
from dicomnode.standard import codes
from tests.support.ct import SHAPE_KJI, make_series
from tests.support.findings import (
    EMPTY,
    LEFT_LUNG,
    LESION,
    RIGHT_LUNG,
    make_overlapping,
    phantom_labels,
)
from tests.support.segs import ORIENTATIONS, encode, frames_by_source


def test_segments_without_a_voxel_are_left_out_and_the_rest_is_numbered_from_one(made):
    segmentation = encode(made)

    assert segment_numbers(made.findings) == {LEFT_LUNG: 1, RIGHT_LUNG: 2}
    described = [(each.SegmentNumber, each.SegmentLabel) for each in segmentation.SegmentSequence]
    assert described == [(1, "Left lung"), (2, "Right lung")]
    assert segmentation.SegmentsOverlap == "NO"


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


def test_a_label_that_nobody_describes_is_refused(made):
    labels = phantom_labels(SHAPE_KJI)
    labels[3, 3, 3] = 3
    strange = LabelMap(labels=labels, geometry=made.findings.label_map.geometry)

    with pytest.raises(ResultError, match=r"holds \[3\], described are \[1, 2, 4\]"):
        encode(made, findings=replace(made.findings, label_map=strange))


def test_an_overlap_with_a_segment_that_nobody_describes_is_refused(tmp_path):
    made = make_overlapping(make_series(tmp_path))
    findings = replace(made.findings, segments=made.findings.segments[:-1])

    with pytest.raises(ResultError, match=r"holds \[5\]"):
        encode(made, findings=findings)


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
