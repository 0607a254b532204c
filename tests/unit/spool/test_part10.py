"""The file format around a data set, and the UIDs in it, in every encoding."""

import struct
import zlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info

from dicomnode.errors import InstanceUnreadable
from dicomnode.spool.part10 import (
    Identity,
    encode_header,
    read_file_meta,
    read_identity,
    read_stored,
)
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
BIG = "1.2.840.10008.1.2.2"
DEFLATED = "1.2.840.10008.1.2.1.99"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"

IDENTITY = Identity(
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    sop_instance_uid="1.2.3.4",
    study_instance_uid="1.2.3.5",
    series_instance_uid="1.2.3.61",
)


def encode(syntax: str, **attributes: object) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = IDENTITY.sop_class_uid
    ds.SOPInstanceUID = IDENTITY.sop_instance_uid
    ds.StudyInstanceUID = IDENTITY.study_instance_uid
    ds.SeriesInstanceUID = IDENTITY.series_instance_uid
    ds.PatientName = "Nobody^Of^Note"
    ds.InstanceNumber = 3
    ds.ReferencedImageSequence = [Dataset(), Dataset()]
    ds.ReferencedImageSequence[1].ReferencedSOPInstanceUID = "1.9.9"
    for keyword, value in attributes.items():
        if value is None:
            delattr(ds, keyword)
        else:
            setattr(ds, keyword, value)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG
    write_dataset(buffer, ds)
    encoded = bytes(buffer.getvalue())
    if syntax == DEFLATED:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflater.compress(encoded) + deflater.flush()
    return encoded


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED, JPEG_LOSSLESS])
def test_the_uids_are_found_in_every_encoding(syntax):
    assert read_identity(encode(syntax), syntax) == IDENTITY


def test_uids_behind_a_large_element_are_found_in_a_deflated_data_set():
    large = struct.pack("<HH2sHL", 0x0009, 0x1010, b"OB", 0, 3_000_000) + bytes(3_000_000)
    plain = encode(EXPLICIT)
    behind = plain.index(b"\x10\x00\x10\x00")  # Patient's Name: the first element of group 0010
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    encoded = deflater.compress(plain[:behind] + large + plain[behind:]) + deflater.flush()

    assert read_identity(encoded, DEFLATED) == IDENTITY


def test_padding_with_spaces_is_no_part_of_a_uid():
    encoded = encode(EXPLICIT).replace(b"1.2.3.4\x00", b"1.2.3.4 ")

    assert read_identity(encoded, EXPLICIT) == IDENTITY


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
@pytest.mark.parametrize("value", [None, ""], ids=["absent", "empty"])
def test_a_missing_uid_is_unreadable(keyword, value):
    with pytest.raises(InstanceUnreadable, match="wanted a UID"):
        read_identity(encode(EXPLICIT, **{keyword: value}), EXPLICIT)


def test_no_text_of_a_data_set_gets_into_an_error():
    encoded = encode(EXPLICIT)

    with pytest.raises(InstanceUnreadable) as caught:
        read_identity(encoded[: encoded.index(b"1.2.3.61")], EXPLICIT)

    assert "Nobody" not in str(caught.value)


def test_what_is_not_deflated_cannot_be_inflated():
    with pytest.raises(InstanceUnreadable, match="cannot be inflated"):
        read_identity(b"\xff" * 100, DEFLATED)


def test_a_data_set_that_inflates_without_end_is_given_up(monkeypatch):
    monkeypatch.setattr("dicomnode.spool.part10._INFLATE_BYTES", (1 << 12, 1 << 16))
    head = struct.pack("<HH2sHL", 0x0009, 0x1010, b"OB", 0, 0x7FFFFFFE)
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflater.compress(head + bytes(1 << 20)) + deflater.flush()

    with pytest.raises(InstanceUnreadable):
        read_identity(bomb, DEFLATED)


def test_sequences_nested_without_end_are_unreadable():
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    sequence = struct.pack("<HH2sHL", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF)

    with pytest.raises(InstanceUnreadable):
        read_identity((sequence + item) * 5000, EXPLICIT)


@given(st.binary(max_size=400), st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED]))
def test_any_bytes_are_either_identified_or_unreadable(content, syntax):
    with pytest.raises(InstanceUnreadable):
        read_identity(content, syntax)


@given(st.data())
def test_a_damaged_data_set_is_either_identified_or_unreadable(data):
    encoded = bytearray(encode(EXPLICIT))
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(encoded)))
    try:
        identity = read_identity(bytes(encoded[:cut]), EXPLICIT)
    except InstanceUnreadable:
        return
    assert identity.series_instance_uid


def test_the_file_is_read_by_pydicom_and_says_where_it_came_from(tmp_path):
    header = encode_header(
        sop_class_uid=IDENTITY.sop_class_uid,
        sop_instance_uid=IDENTITY.sop_instance_uid,
        transfer_syntax_uid=IMPLICIT,
        source_ae_title="CT1",
    )
    (tmp_path / "one.dcm").write_bytes(header + encode(IMPLICIT))

    ds = dcmread(tmp_path / "one.dcm")

    assert header[:132] == bytes(128) + b"DICM"
    assert isinstance(ds.file_meta, FileMetaDataset)
    assert ds.file_meta.TransferSyntaxUID == IMPLICIT
    assert ds.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert ds.file_meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert ds.file_meta.SourceApplicationEntityTitle == "CT1"
    assert ds.file_meta.FileMetaInformationGroupLength == len(header) - 132 - 12
    assert ds.InstanceNumber == 3


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "1.2." + "3" * 60])
@pytest.mark.parametrize("title", ["A", "CT", "SIXTEEN-LETTERS!"])
def test_our_header_is_the_one_that_pydicom_writes(uid, title):
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = IDENTITY.sop_class_uid
    meta.MediaStorageSOPInstanceUID = uid
    meta.TransferSyntaxUID = DEFLATED
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    meta.SourceApplicationEntityTitle = title
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta)

    header = encode_header(
        sop_class_uid=IDENTITY.sop_class_uid,
        sop_instance_uid=uid,
        transfer_syntax_uid=DEFLATED,
        source_ae_title=title,
    )

    assert header == bytes(128) + b"DICM" + buffer.getvalue()


def test_header_and_data_set_are_told_apart(tmp_path):
    header = encode_header(
        sop_class_uid=IDENTITY.sop_class_uid,
        sop_instance_uid=IDENTITY.sop_instance_uid,
        transfer_syntax_uid=DEFLATED,
        source_ae_title="CT1",
    )
    (tmp_path / "one.dcm").write_bytes(header + encode(DEFLATED))

    meta, identity, data_set = read_stored(tmp_path / "one.dcm")

    assert (meta.data_set_offset, meta.transfer_syntax_uid) == (len(header), DEFLATED)
    assert (identity, data_set) == (IDENTITY, encode(DEFLATED))


@pytest.mark.parametrize(
    "content", [b"", b"short", bytes(128) + b"DICM", bytes(128) + b"DICM" + bytes(40), bytes(500)]
)
def test_what_is_no_dicom_file_is_unreadable(content):
    with pytest.raises(InstanceUnreadable):
        read_file_meta(BytesIO(content))
