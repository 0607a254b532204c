"""What a destination may ask of a SEG, and what findings allow of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.config import SegConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import LabelMap
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.seg_options import fitting_options
from dicomnode.results.segments import segment_numbers
from dicomnode.standard.sop_classes import LABEL_MAP_SEGMENTATION, SEG_TRANSFER_SYNTAXES
from tests.support.ct import SHAPE_KJI, make_series
from tests.support.findings import LEFT_LUNG, RIGHT_LUNG, make_findings, make_overlapping
from tests.support.segs import encode, labels_from


def test_empty_frames_are_left_out_unless_wanted(made):
    sparse, full = encode(made), encode(made, options=SegConfig(omit_empty_frames=False))

    assert sparse.NumberOfFrames < full.NumberOfFrames == 2 * SHAPE_KJI[0]
    numbers = segment_numbers(made.findings)
    back = labels_from(full, made.sources, numbers, SHAPE_KJI)
    np.testing.assert_array_equal(back, made.findings.label_map.labels)


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


def test_frames_at_uneven_distances_claim_no_even_ones(tmp_path):
    """As the geometry gate lets through, to be resampled for the models."""
    places = np.array([0, 1, 2, 3, 4.3, 5, 6, 7, 8])
    made = make_findings(
        make_series(tmp_path, ImagePositionPatient=lambda k: ["0", "0", f"{2.5 * places[k]}"])
    )
    label_map = made.findings.label_map
    uneven = LabelMap(
        labels=label_map.labels, geometry=replace(label_map.geometry, slice_places=places)
    )

    segmentation = encode(
        made,
        findings=replace(made.findings, label_map=uneven),
        options=SegConfig(type="labelmap"),
    )

    assert "DimensionOrganizationType" not in segmentation


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
