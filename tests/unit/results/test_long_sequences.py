"""A label map must come back from the SEG on the very slices it was made on."""

from __future__ import annotations

import copy

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.imaging.volume import read_series
from dicomnode.model.findings import Findings, LabelMap
from dicomnode.model.volume import SourceFrame
from dicomnode.results.evidence import read_evidence
from dicomnode.results.segments import segment_numbers
from dicomnode.results.shown import read_segmentation
from dicomnode.standard.sop_classes import ENHANCED_CT_IMAGE, LEGACY_CONVERTED_ENHANCED_CT_IMAGE
from tests.support.ct import ORIGIN_LPS, SHAPE_KJI, make_series
from tests.support.findings import (
    RIGHT_LUNG,
    Made,
    make_context,
    make_findings,
    make_segments,
    phantom_labels,
)
from tests.support.segs import ORIENTATIONS, encode, labels_from, to_bytes


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
        context=make_context(evidence),
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
