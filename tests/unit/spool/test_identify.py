"""The fast reading of UIDs never disagrees with the library's."""

import struct
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmwrite
from pydicom.sequence import Sequence

from dicomnode.errors import InstanceUnreadable
from dicomnode.spool.identify import identify_head
from dicomnode.spool.part10 import Identity, read_identity

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
BIG_ENDIAN, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
JPEG = "1.2.840.10008.1.2.4.70"
IDENTITY = Identity(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.4",
    study_instance_uid="1.2.31",
    series_instance_uid="1.2.5",
)


def data_set(*, undefined: bool = False) -> Dataset:
    """A head as CT has it, with sequences within sequences before the UIDs."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SOPClassUID, ds.SOPInstanceUID = IDENTITY.sop_class_uid, IDENTITY.sop_instance_uid
    ds.Modality, ds.PatientName = "CT", "Test^Identify"
    inner, outer = Dataset(), Dataset()
    inner.CodeValue, inner.SOPInstanceUID = "1", "9.9.9"
    outer.PurposeOfReferenceCodeSequence = Sequence([inner])
    outer.ReferencedSOPInstanceUID = "9.9"
    ds.SourceImageSequence = Sequence([outer, inner])
    ds.add_new(0x00091001, "OB", b"private" * 9)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = (
        IDENTITY.study_instance_uid,
        IDENTITY.series_instance_uid,
    )
    ds.InstanceNumber = "1"
    for sequence in (ds.SourceImageSequence, outer.PurposeOfReferenceCodeSequence):
        sequence.is_undefined_length = undefined
        for item in sequence:
            item.is_undefined_length_sequence_item = undefined
    return ds


def encode(ds: Dataset, syntax: str) -> bytes:
    target = BytesIO()
    dcmwrite(
        target, ds, implicit_vr=syntax == IMPLICIT, little_endian=True, enforce_file_format=False
    )
    return target.getvalue()


@pytest.mark.parametrize("undefined", [False, True], ids=["defined", "undefined"])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, JPEG])
def test_the_uids_are_found_behind_sequences(syntax, undefined):
    encoded = encode(data_set(undefined=undefined), syntax)

    assert identify_head(encoded, syntax) == IDENTITY
    assert read_identity(encoded, syntax) == IDENTITY


@pytest.mark.parametrize("syntax", [BIG_ENDIAN, DEFLATED])
def test_of_rare_encodings_it_says_nothing(syntax):
    assert identify_head(encode(data_set(), EXPLICIT), syntax) is None


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_of_a_head_that_ends_too_early_it_says_nothing(syntax):
    encoded = encode(data_set(), syntax)
    enough = next(n for n in range(len(encoded) + 1) if identify_head(encoded[:n], syntax))

    # The element after the last of the four has to begin: only then they are complete.
    assert enough > encoded.index(b"1.2.5") + 6
    assert {identify_head(encoded[:n], syntax) for n in range(enough)} == {None}


def agrees(content: bytes, syntax: str) -> None:
    found = identify_head(content, syntax)
    if found is None:
        return
    assert read_identity(content, syntax) == found


@given(st.data())
def test_of_a_damaged_data_set_it_says_what_the_library_says_or_nothing(data):
    syntax = data.draw(st.sampled_from([EXPLICIT, IMPLICIT]))
    content = bytearray(encode(data_set(undefined=data.draw(st.booleans())), syntax))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    agrees(bytes(content), syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_a_character_set_with_a_nul_is_left_to_the_library(syntax):
    content = encode(data_set(), syntax).replace(b"ISO_IR 192", b"\x00SO_IR 192")

    assert identify_head(content, syntax) is None


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT]))
def test_of_any_bytes_it_says_what_the_library_says_or_nothing(content, syntax):
    agrees(content, syntax)


def test_sequences_nested_without_end_are_left_to_the_library():
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1110, b"SQ", 0, 0xFFFFFFFF)
    content = (sequence + item) * 1000

    assert identify_head(content, EXPLICIT) is None
    with pytest.raises(InstanceUnreadable):
        read_identity(content, EXPLICIT)
