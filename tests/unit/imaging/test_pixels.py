"""True values: what stored bits mean in Hounsfield units (PS3.3 C.11.1, C.7.5.1.1.2)."""

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from dicomnode.errors import PixelsUnreadable
from dicomnode.imaging.pixels import read_hu
from dicomnode.imaging.slices import read_slice
from dicomnode.imaging.volume import _has_same_pixels as has_same_pixels
from tests.support.ct import make_series

AIR = -1024


def _image(tmp_path, words, *, big_endian=False, **attributes):
    """Write 16-bit words, one row, as Pixel Data and read them as Hounsfield units."""
    path = make_series(
        tmp_path,
        shape_kji=(1, 1, len(words)),
        **({"transfer_syntax": ExplicitVRBigEndian} if big_endian else {}),
    )[0]
    ds = pydicom.dcmread(path)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if name in ds:
            delattr(ds, name)
    for name, value in attributes.items():
        setattr(ds, name, value)
    ds.PixelData = np.array(words, ">u2" if big_endian else "<u2").tobytes()
    ds["PixelData"].VR = "OW"
    ds.save_as(path)
    return _hu(path)


def _hu(path):
    image = read_slice(path)
    out = np.empty((image.rows, image.columns), np.int16)
    read_hu(image, out)
    return out.ravel().tolist()


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    ("words", "attributes", "expected"),
    [
        ([0, 24, 4095], {"RescaleIntercept": -1024}, [-1024, -1000, 3071]),
        ([0xFC00, 0, 0x7FFF], {"PixelRepresentation": 1}, [-1024, 0, 32767]),
        ([1, 2, 3], {"RescaleSlope": 2.5, "RescaleIntercept": -10}, [-8, -5, -2]),
        ([1, 2, 3], {"RescaleIntercept": "0.4"}, [1, 2, 3]),
        ([40000, 1], {"RescaleIntercept": -1024}, [32767, -1023]),
        ([0x8000, 5], {"PixelRepresentation": 1, "RescaleIntercept": -10}, [-32768, -5]),
        ([10, 1000], {"RescaleSlope": -1}, [-10, -1000]),
    ],
    ids=["unsigned", "signed", "slope", "fraction", "clipped high", "clipped low", "negative"],
)
def test_stored_values_are_rescaled(tmp_path, words, attributes, expected, big_endian):
    assert expected == _image(tmp_path, words, big_endian=big_endian, **attributes)


@pytest.mark.parametrize(
    ("words", "attributes", "expected"),
    [
        # An overlay in bits 12 to 15 of former editions is no part of the value.
        ([0xF123, 0x1456], {"BitsStored": 12, "HighBit": 11}, [0x123, 0x456]),
        (
            [0x0FFF, 0xFFFF, 0x07FF],
            {"BitsStored": 12, "HighBit": 11, "PixelRepresentation": 1},
            [-1, -1, 2047],
        ),
        ([0x1230, 0x456F], {"BitsStored": 12, "HighBit": 15}, [0x123, 0x456]),
        ([0xFFF0], {"BitsStored": 12, "HighBit": 15, "PixelRepresentation": 1}, [-1]),
        ([0x2468], {"BitsStored": 12, "HighBit": 13}, [0x2468 >> 2 & 0xFFF]),
    ],
    ids=["overlay", "sign of 12 bits", "high bit 15", "signed high bit 15", "high bit 13"],
)
def test_bits_beyond_those_stored_do_not_count(tmp_path, words, attributes, expected):
    assert expected == _image(tmp_path, words, **attributes)


@pytest.mark.parametrize(
    ("words", "attributes", "expected"),
    [
        ([0xF830, 40], {"PixelRepresentation": 1, "PixelPaddingValue": -2000}, [AIR, 40]),
        ([0xF830, 40], {"PixelRepresentation": 1, "PixelPaddingValue": 63536}, [AIR, 40]),
        ([63536, 40], {"PixelPaddingValue": -2000}, [AIR, 40]),
        ([63536, 40], {"PixelPaddingValue": -2000, "BitsStored": 12, "HighBit": 11}, [AIR, 40]),
        # 63536 has the low 12 bits 2096: bone of that value is no padding.
        ([2096, 40], {"PixelPaddingValue": 63536, "BitsStored": 12, "HighBit": 11}, [2096, 40]),
        (
            [0x0830, 40],
            {
                "PixelRepresentation": 1,
                "PixelPaddingValue": -2000,
                "BitsStored": 12,
                "HighBit": 11,
            },
            [AIR, 40],
        ),
        (
            [5, 10, 20, 21],
            {"PixelPaddingValue": 10, "PixelPaddingRangeLimit": 20},
            [5, AIR, AIR, 21],
        ),
        (
            [0xF830, 0xF831, 7],
            {
                "PixelRepresentation": 1,
                "PixelPaddingValue": -2000,
                "PixelPaddingRangeLimit": -1999,
            },
            [AIR, AIR, 7],
        ),
    ],
    ids=[
        "as written",
        "positive for signed pixels",
        "negative for unsigned pixels",
        "beyond the bits stored",
        "no false match after masking",
        "12 bits signed",
        "range",
        "range signed",
    ],
)
def test_padding_becomes_air(tmp_path, words, attributes, expected):
    values = dict(attributes)
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if name in values:
            kind = "SS" if values[name] < 0 else "US"
            values[name] = pydicom.DataElement(name, kind, values[name])
    assert expected == _padded(tmp_path, words, values)


def _padded(tmp_path, words, values):
    path = make_series(tmp_path, shape_kji=(1, 1, len(words)))[0]
    ds = pydicom.dcmread(path)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.RescaleSlope, ds.RescaleIntercept = 1, 0
    for name, value in values.items():
        ds[name] = value if isinstance(value, pydicom.DataElement) else _element(name, value)
    ds.PixelData = np.array(words, "<u2").tobytes()
    ds.save_as(path)
    return _hu(path)


def _element(name, value):
    return pydicom.DataElement(name, "US", value)


def test_eight_bit_pixels_are_read(tmp_path):
    path = make_series(tmp_path, shape_kji=(1, 1, 4))[0]
    ds = pydicom.dcmread(path)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.RescaleSlope, ds.RescaleIntercept = 16, -1024
    ds.PixelPaddingValue = 3
    ds["PixelPaddingValue"].VR = "US"
    ds.PixelData = bytes([0, 1, 3, 255])
    ds["PixelData"].VR = "OB"
    ds.save_as(path)

    assert _hu(path) == [-1024, -1008, AIR, 3056]


def test_pixels_that_do_not_decode_are_refused_by_uid(tmp_path):
    path = make_series(tmp_path, shape_kji=(1, 23, 17), transfer_syntax=RLELossless)[0]
    content = bytearray(path.read_bytes())
    del content[-200:]
    path.write_bytes(content)
    image = read_slice(path)

    with pytest.raises(PixelsUnreadable, match=image.sop_instance_uid):
        read_hu(image, np.empty((23, 17), np.int16))


def test_a_file_that_shrinks_after_its_header_was_read_is_refused(tmp_path):
    path = make_series(tmp_path, shape_kji=(1, 23, 17))[0]
    image = read_slice(path)
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(PixelsUnreadable, match=r"wanted 782 bytes of Pixel Data, found 77\d"):
        read_hu(image, np.empty((23, 17), np.int16))


def test_pixels_are_compared_whatever_their_encoding(tmp_path):
    plain = read_slice(make_series(tmp_path / "a", shape_kji=(1, 23, 17))[0])
    packed = read_slice(
        make_series(tmp_path / "b", shape_kji=(1, 23, 17), transfer_syntax=RLELossless)[0]
    )
    other = read_slice(
        make_series(tmp_path / "c", shape_kji=(1, 23, 17), hu=np.zeros((1, 23, 17), np.int16))[0]
    )

    assert has_same_pixels(plain, packed)
    assert not has_same_pixels(plain, other)
