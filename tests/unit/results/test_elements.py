"""Bytes written here must be those that pydicom writes, and read back as what was meant."""

from __future__ import annotations

import io

import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.results import elements


def as_pydicom_writes(made: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, made)
    return buffer.getvalue()


def test_elements_and_sequences_are_those_of_pydicom():
    source, derivation, frame = Dataset(), Dataset(), Dataset()
    source.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    source.ReferencedSOPInstanceUID = "1.2.3"
    source.ReferencedFrameNumber = 17
    source.SpatialLocationsPreserved = "YES"
    derivation.SourceImageSequence = [source]
    frame.DerivationImageSequence = [derivation]
    frame.DimensionIndexValues = [3, 70000]
    frame.ImagePositionPatient = ["-1.5", "0", "12.25"]
    frame.ReferencedSegmentNumber = 300

    ours = b"".join(
        (
            elements.sequence(
                "DerivationImageSequence",
                elements.item(
                    elements.sequence(
                        "SourceImageSequence",
                        elements.item(
                            elements.text(
                                "ReferencedSOPClassUID", "UI", "1.2.840.10008.5.1.4.1.1.2"
                            ),
                            elements.text("ReferencedSOPInstanceUID", "UI", "1.2.3"),
                            elements.text("ReferencedFrameNumber", "IS", "17"),
                            elements.text("SpatialLocationsPreserved", "CS", "YES"),
                        ),
                    )
                ),
            ),
            elements.text("ImagePositionPatient", "DS", "-1.5", "0", "12.25"),
            elements.numbers("DimensionIndexValues", "UL", 3, 70000),
            elements.numbers("ReferencedSegmentNumber", "US", 300),
        )
    )

    assert ours == as_pydicom_writes(frame)


def test_a_raw_sequence_is_written_as_it_is_and_read_where_it_is_looked_into():
    item = elements.item(elements.text("ReferencedSOPInstanceUID", "UI", "1.2.3"))
    element = elements.raw_sequence("SourceImageSequence", [item, item])
    made = Dataset()
    made[element.tag] = element
    made.set_original_encoding(is_implicit_vr=False, is_little_endian=True)

    written = as_pydicom_writes(made)

    assert written == elements.sequence("SourceImageSequence", item, item)
    assert [each.ReferencedSOPInstanceUID for each in made.SourceImageSequence] == ["1.2.3"] * 2


def test_what_cannot_be_written_is_refused():
    with pytest.raises(ValueError, match=r"no keyword of PS3\.6"):
        elements.text("NoSuchAttribute", "CS", "X")
    with pytest.raises(UnicodeEncodeError):
        elements.text("CodeMeaning", "LO", "肺")
    with pytest.raises(ValueError, match="65534"):
        elements.text("CodeMeaning", "LO", "x" * 70000)
    assert io.BytesIO(elements.text("CodeMeaning", "LO", "abc")).read()[-1:] == b" "
