"""Walking headers: the same attributes as pydicom, and no way to break it."""

import io

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from dicomnode.errors import PixelsUnreadable
from dicomnode.imaging import header
from dicomnode.imaging.attributes import Attributes
from dicomnode.imaging.elements import WalkedHeader
from dicomnode.imaging.header import read_header
from dicomnode.imaging.walking import walk
from tests.support.ct import make_series

PLAIN = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless)
KEYWORDS = (
    "SOPInstanceUID",
    "ImageType",
    "ImagePositionPatient",
    "PixelSpacing",
    "Rows",
    "RescaleSlope",
    "KVP",
    "PixelPaddingValue",
)


def _nested(depth):
    """A sequence in a sequence, of undefined length at every level."""
    item = Dataset()
    item.CodeValue = "X" * depth
    if depth:
        item.ConceptCodeSequence = _nested(depth - 1)
        item["ConceptCodeSequence"].is_undefined_length = True
    item.is_undefined_length_sequence_item = True
    return Sequence([item])


def _series(folder, syntax, **attributes):
    return make_series(folder, shape_kji=(1, 23, 17), transfer_syntax=syntax, **attributes)[0]


def _with_sequence(path, depth):
    ds = pydicom.dcmread(path)
    ds.ProcedureCodeSequence = _nested(depth)
    ds["ProcedureCodeSequence"].is_undefined_length = True
    ds.add_new("PixelPaddingValue", "SS", -2000)
    ds.save_as(path)
    return path


@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("syntax", PLAIN)
def test_a_plain_header_is_walked_and_says_what_pydicom_says(tmp_path, syntax, depth):
    path = _with_sequence(_series(tmp_path, syntax), depth)

    found = read_header(path)

    assert isinstance(found.attributes, WalkedHeader)
    assert found.transfer_syntax_uid == syntax
    with path.open("rb") as file:
        reference = header._parse(file, header.tags_of(()))
    assert found.pixels == reference.pixels
    ours, theirs = (Attributes(items=(each.attributes,), label="x") for each in (found, reference))
    for keyword in KEYWORDS:
        assert ours.texts(keyword) == theirs.texts(keyword), keyword
    assert found.attributes.get_item(Tag("PatientName")) is None


def test_a_header_longer_than_the_first_read_is_walked_too(tmp_path):
    path = _series(tmp_path, ExplicitVRLittleEndian)
    ds = pydicom.dcmread(path)
    ds.add_new(0x00091001, "OB", bytes(200_000))
    ds.save_as(path)

    found = read_header(path)

    assert isinstance(found.attributes, WalkedHeader)
    assert Attributes(items=(found.attributes,), label="x").texts("Rows") == ("23",)


def test_more_attributes_are_read_where_they_are_asked_for(tmp_path):
    path = _series(tmp_path, ExplicitVRLittleEndian, ProtocolName="Thorax")

    plain, asked = read_header(path), read_header(path, ("ProtocolName",))

    assert Attributes(items=(plain.attributes,), label="x").text("ProtocolName") == ""
    assert Attributes(items=(asked.attributes,), label="x").text("ProtocolName") == "Thorax"


@settings(max_examples=300, deadline=None)
@given(
    at=st.lists(st.tuples(st.integers(128, 1400), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 3000),
    implicit=st.booleans(),
)
def test_changed_and_cut_headers_are_walked_or_left_to_pydicom(plain_files, at, cut, implicit):
    content = bytearray(plain_files[implicit])
    for index, value in at:
        content[index] = value
    content = bytes(content[: max(132, len(content) - cut)])

    found = walk(content, len(content), header.tags_of(()))

    if found is not None and found.pixels is not None:
        assert 0 <= found.pixels.offset <= len(content)
        assert found.pixels.room == len(content) - found.pixels.offset


@pytest.fixture(scope="module")
def plain_files(tmp_path_factory):
    """An explicit and an implicit VR file with nested sequences."""
    return [
        _with_sequence(_series(tmp_path_factory.mktemp("plain"), syntax), 2).read_bytes()
        for syntax in PLAIN[:2]
    ]


def test_sequences_without_end_are_left_to_pydicom(tmp_path):
    head = io.BytesIO()
    head.write(bytes(128) + b"DICM")
    meta = b"\x02\x00\x10\x00UI\x14\x00" + b"1.2.840.10008.1.2.1\0"
    head.write(b"\x02\x00\x00\x00UL\x04\x00" + np.uint32(len(meta)).tobytes() + meta)
    head.write(
        b"\x08\x00\x00\x11SQ\x00\x00\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff" * 400
    )
    path = tmp_path / "deep.dcm"
    path.write_bytes(head.getvalue())

    content = path.read_bytes()
    assert walk(content, len(content), header.tags_of(())) is None
    try:
        found = read_header(path)
    except PixelsUnreadable:
        return
    assert found.pixels is None
