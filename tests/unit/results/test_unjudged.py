"""What no validator to be had notices, so that only these tests stand between it and a patient.

Planted faults of each of these kinds passed dciodvfy, dcmqi, DCMTK and DicomSRValidator, or drew a
warning among many.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.config import SegConfig
from dicomnode.results.part10 import encode_part10
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.standard import codes
from tests.support.ct import OBLIQUE, make_series
from tests.support.findings import LEFT_LUNG, RIGHT_LUNG, Made, make_findings

# Of UCUM's grammar what measurements of images need: atoms with prefixes, exponents, division.
_ATOM = r"(?:[numcdkM]?(?:m|L|l|g|s|Bq|Gy|Pa)|\[hnsf'U\]|\[arb'U\]|%|1|h|min|d|deg|10\*)"
_UCUM = re.compile(rf"{_ATOM}-?\d*(?:[./]{_ATOM}-?\d*)*(?:\{{[!-~]*\}})?")

SIDE = {"Left lung": "Left", "Right lung": "Right"}
ORIENTATIONS = [
    pytest.param((1, 0, 0, 0, 1, 0), id="axial"),
    pytest.param((-1, 0, 0, 0, 1, 0), id="feet first"),
    pytest.param((-1, 0, 0, 0, -1, 0), id="prone"),
    pytest.param((0, 1, 0, 0, 0, -1), id="sagittal"),
    pytest.param(OBLIQUE, id="oblique"),
]


def results(made: Made, **options: object) -> tuple[Dataset, Dataset]:
    """SEG and SR as an archive reads them."""
    segmentation = encode_segmentation(
        made.findings,
        volume_sources=made.sources,
        evidence=made.evidence,
        context=made.context,
        options=SegConfig(**options),
    )
    assert segmentation is not None
    report = encode_report(
        made.findings, evidence=made.evidence, segmentation=segmentation, context=made.context
    )
    read = [pydicom.dcmread(io.BytesIO(encode_part10(each))) for each in (segmentation, report)]
    return read[0], read[1]


def content(item: Dataset) -> Iterator[Dataset]:
    """An SR's content items, depth first."""
    for child in item.get("ContentSequence", ()):
        yield child
        yield from content(child)


def named(items: Iterator[Dataset] | list[Dataset], meaning: str) -> list[Dataset]:
    return [
        each
        for each in items
        if "ConceptNameCodeSequence" in each
        and each.ConceptNameCodeSequence[0].CodeMeaning == meaning
    ]


def groups(report: Dataset) -> list[Dataset]:
    return named(content(report), "Measurement Group")


def test_every_unit_is_ucum(made):
    _, report = results(made)

    units = [
        each.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0]
        for each in content(report)
        if each.ValueType == "NUM"
    ]
    assert units
    for unit in units:
        assert unit.CodingSchemeDesignator == "UCUM"
        assert _UCUM.fullmatch(unit.CodeValue), unit.CodeValue


def test_every_unit_that_the_node_can_write_is_ucum():
    for symbol in codes._UNITS:
        assert _UCUM.fullmatch(symbol), symbol
    for wrong in ("liters", "ml/", "HU", "percent", "mm^3", "cc"):
        assert not _UCUM.fullmatch(wrong), wrong


def test_every_number_has_a_coded_name_that_has_a_meaning(made):
    _, report = results(made)

    for item in content(report):
        if item.ValueType == "NUM":
            name = item.ConceptNameCodeSequence[0]
            assert name.CodeMeaning.strip()
            assert name.get("CodeValue") or name.get("LongCodeValue")
            assert name.CodingSchemeDesignator in {"SCT", "DCM", "LN", "IBSI", "99DCMNODE"}


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_tracking_uids_are_there_once_and_the_same_in_both_objects(made, kind):
    segmentation, report = results(made, type=kind)

    of_segments = {
        each.TrackingID: each.TrackingUID
        for each in segmentation.SegmentSequence
        if each.SegmentNumber
    }
    of_groups = {
        named(group.ContentSequence, "Tracking Identifier")[0].TextValue: named(
            group.ContentSequence, "Tracking Unique Identifier"
        )[0].UID
        for group in groups(report)
    }
    assert len(of_groups) == len(groups(report))
    assert len(set(of_groups.values())) == len(of_groups)
    assert of_segments.items() <= of_groups.items()


def test_the_observer_is_a_device(made):
    _, report = results(made)

    [kind] = named(list(report.ContentSequence), "Observer Type")
    assert kind.ConceptCodeSequence[0].CodeValue == "121007"
    assert not named(content(report), "Person Observer Name")


def test_a_reported_segment_is_the_one_it_is_said_to_be(made):
    segmentation, report = results(made)

    described = {each.SegmentNumber: each for each in segmentation.SegmentSequence}
    for group in groups(report):
        for reference in named(group.ContentSequence, "Referenced Segment"):
            [instance] = reference.ReferencedSOPSequence
            assert instance.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
            segment = described[instance.ReferencedSegmentNumber]
            [identifier] = named(group.ContentSequence, "Tracking Identifier")
            assert identifier.TextValue == segment.SegmentLabel


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_the_frame_of_reference_is_that_of_the_source(made, kind):
    segmentation, _ = results(made, type=kind)

    assert segmentation.FrameOfReferenceUID == made.evidence[0].FrameOfReferenceUID


def test_every_value_of_a_label_map_is_described(made):
    segmentation, _ = results(made, type="labelmap")

    described = {each.SegmentNumber for each in segmentation.SegmentSequence}
    assert set(np.unique(segmentation.pixel_array).tolist()) <= described


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_left_is_left_of_right_in_the_patient_and_the_codes_say_so(tmp_path, orientation, kind):
    """Segments are put where the patient's sides are, and must come back on those sides."""
    paths = make_series(tmp_path, orientation=orientation)
    empty = make_findings(paths)
    geometry = empty.findings.label_map.geometry
    k, j, i = np.indices(geometry.shape_kji)
    lps = geometry.to_lps(np.stack([i, j, k], axis=-1).astype(float))
    middle = np.median(lps[..., 0])
    labels = np.zeros(geometry.shape_kji, np.uint8)
    labels[lps[..., 0] > middle + 2] = LEFT_LUNG  # LPS: x grows to the patient's left
    labels[lps[..., 0] < middle - 2] = RIGHT_LUNG
    made = make_findings(paths, labels=labels)

    segmentation, report = results(made, type=kind)

    pixels = np.atleast_3d(segmentation.pixel_array)
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    cosines = [float(each) for each in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    between_rows, between_columns = (
        float(each) for each in shared.PixelMeasuresSequence[0].PixelSpacing
    )
    xs: dict[int, list[float]] = {}
    for frame, group in zip(pixels, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        x0 = float(group.PlanePositionSequence[0].ImagePositionPatient[0])
        for number in (1, 2):
            if kind == "binary":
                of = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
                rows, columns = np.nonzero(frame) if of == number else ((), ())
            else:
                rows, columns = np.nonzero(frame == number)
            # PS3.3 C.7.6.2.1.1, written out once more: no code of the product's is used.
            x = (
                x0
                + np.asarray(columns) * between_columns * cosines[0]
                + np.asarray(rows) * between_rows * cosines[3]
            )
            xs.setdefault(number, []).extend(x.tolist())
    numbered = {each.SegmentNumber: each for each in segmentation.SegmentSequence}
    sides = {}
    for number in (1, 2):
        kind_of = numbered[number].SegmentedPropertyTypeCodeSequence[0]
        [side] = kind_of.SegmentedPropertyTypeModifierCodeSequence
        sides[side.CodeMeaning] = xs[number]
        assert SIDE[numbered[number].SegmentLabel] == side.CodeMeaning
    assert min(sides["Left"]) > max(sides["Right"])
    for group in groups(report):
        [identifier] = named(group.ContentSequence, "Tracking Identifier")
        if identifier.TextValue in SIDE:
            [site] = named(group.ContentSequence, "Finding Site")
            [side] = named(site.ContentSequence, "Laterality")
            assert side.ConceptCodeSequence[0].CodeMeaning == SIDE[identifier.TextValue]


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_no_private_attribute_and_nothing_of_the_patient_in_a_description(tmp_path, kind):
    made = make_findings(make_series(tmp_path, PatientName="Zebulon^Quux", PatientID="ID-90817263"))

    for result in results(made, type=kind):
        assert not [each for each in result.iterall() if each.tag.is_private]
        for element in result.iterall():
            if element.keyword not in {"PatientName", "PatientID"}:
                text = str(element.value) if element.VR != "SQ" else ""
                assert not re.search("Zebulon|Quux|90817263", text), element.keyword
