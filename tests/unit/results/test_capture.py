"""Secondary captures: pictures that any viewer shows, tied to patient, study and source."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest

from dicomnode.config import ScConfig
from dicomnode.errors import ResultError
from dicomnode.results.capture import encode_captures
from dicomnode.results.part10 import encode_part10
from dicomnode.standard.sop_classes import (
    MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE,
    SECONDARY_CAPTURE,
)

PICTURES = [
    np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8) for seed in (1, 2)
]


def encode(made, form="images"):
    captures = encode_captures(
        PICTURES,
        evidence=made.evidence,
        context=made.context,
        models=made.findings.models,
        options=ScConfig(form=form),
    )
    return [pydicom.dcmread(io.BytesIO(encode_part10(each))) for each in captures]


def test_each_picture_is_an_instance_of_one_series(made):
    captures = encode(made)

    assert [each.SOPClassUID for each in captures] == [SECONDARY_CAPTURE] * 2
    assert len({each.SeriesInstanceUID for each in captures}) == 1
    assert len({each.SOPInstanceUID for each in captures}) == 2
    assert [each.InstanceNumber for each in captures] == [1, 2]
    for capture, picture in zip(captures, PICTURES, strict=True):
        np.testing.assert_array_equal(capture.pixel_array, picture)


def test_all_pictures_are_frames_of_one_instance_on_request(made):
    [capture] = encode(made, "multi-frame")

    assert capture.SOPClassUID == MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE
    np.testing.assert_array_equal(capture.pixel_array, np.stack(PICTURES))
    assert capture.PageNumberVector == [1, 2]
    assert capture.SeriesInstanceUID != encode(made)[0].SeriesInstanceUID


def test_a_capture_belongs_to_patient_study_and_source(made):
    capture = encode(made)[0]
    source = made.evidence[0]

    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate"):
        assert capture[keyword].value == source[keyword].value
    referred = [each.ReferencedSOPInstanceUID for each in capture.SourceImageSequence]
    assert referred == [each.SOPInstanceUID for each in made.evidence]
    assert capture.SeriesNumber == 2003
    assert capture.BurnedInAnnotation == "NO"
    assert capture.ImageComments == "Research use only. Not for diagnosis."


def test_repeating_gives_the_same_bytes(made):
    def once():
        captures = encode_captures(
            PICTURES, evidence=made.evidence, context=made.context, models=made.findings.models
        )
        return [encode_part10(each) for each in captures]

    assert once() == once()


@pytest.mark.parametrize("pictures", [[], [PICTURES[0], PICTURES[1][:4]], [np.zeros((3, 3), "u1")]])
def test_what_is_no_set_of_pictures_is_refused(made, pictures):
    with pytest.raises(ResultError):
        encode_captures(pictures, evidence=made.evidence, context=made.context, models=())
