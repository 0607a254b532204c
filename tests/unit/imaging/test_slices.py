"""What `read_slice` takes from a header, and what it refuses."""

import re

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicomnode.errors import PixelsUnreadable, SeriesError, UnsupportedImage
from dicomnode.imaging.pixels import read_hu
from dicomnode.imaging.slices import read_slice, read_slices
from tests.support.ct import make_series


def _one(tmp_path, **attributes):
    return make_series(tmp_path, shape_kji=(1, 23, 17), **attributes)[0]


def _rewrite(path, change):
    ds = pydicom.dcmread(path)
    change(ds)
    ds.save_as(path)
    return path


def test_a_slice_says_where_it_lies_and_how_it_is_stored(tmp_path):
    path = _one(tmp_path, PixelPaddingValue=-2000, AcquisitionNumber=4)

    found = read_slice(path)

    ds = pydicom.dcmread(path)
    assert found.path == path
    assert (found.rows, found.columns) == (23, 17)
    assert found.pixel_spacing_mm == (0.9, 0.7)
    assert found.position_lps == (-41.5, 12.25, -203.0)
    assert found.orientation_lps == (1, 0, 0, 0, 1, 0)
    assert found.sop_instance_uid == ds.SOPInstanceUID
    assert found.series_instance_uid == ds.SeriesInstanceUID
    assert found.frame_of_reference_uid == ds.FrameOfReferenceUID
    assert found.acquisition_number == 4
    assert found.stored.rescale_intercept == -1024
    assert found.frame_number is None
    assert not found.is_lossy


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_the_offset_of_uncompressed_pixels_is_where_they_lie(tmp_path, syntax):
    path = _one(tmp_path, transfer_syntax=syntax)

    found = read_slice(path)

    pixels = pydicom.dcmread(path).PixelData
    content = path.read_bytes()
    assert content[found.pixels_offset : found.pixels_offset + 23 * 17 * 2] == pixels[: 23 * 17 * 2]


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian])
def test_pixels_that_must_be_decoded_have_no_offset(tmp_path, syntax):
    assert read_slice(_one(tmp_path, transfer_syntax=syntax)).pixels_offset is None


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "localizer"),
        ({"ImagePositionPatient": None}, "Image Position (Patient), found 0 values"),
        ({"ImageOrientationPatient": None}, "Image Orientation (Patient), found 0 values"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "right angle"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "unit vectors"),
        ({"PixelSpacing": None}, "Pixel Spacing, found 0 values"),
        ({"PixelSpacing": [0, 0.7]}, "Pixel Spacing from 0.001 to 100 mm, found 0, 0.7"),
        ({"PixelSpacing": ["1e-300", 0.7]}, "Pixel Spacing from 0.001"),
        ({"ImagePositionPatient": ["1e200", 0, 0]}, "within 100000 mm"),
        ({"RescaleIntercept": "1e300"}, "both within 1e+06"),
        ({"RescaleSlope": None}, "Rescale Slope"),
        ({"RescaleSlope": 0}, "other than 0"),
        ({"RescaleType": "MGML"}, "wanted HU in Rescale Type"),
        ({"SamplesPerPixel": 3}, "wanted a whole number from 1 to 1"),
        ({"PhotometricInterpretation": "RGB"}, "MONOCHROME"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31}, "from 8 to 16 in Bits Allocated"),
        ({"BitsStored": 17}, "Bits Stored"),
        ({"HighBit": 3}, "High Bit"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "wanted a CT image"),
        ({"SeriesInstanceUID": None}, "wanted a UID in Series Instance UID, found none"),
        ({"Rows": 20000}, "Rows, found 20000"),
    ],
)
def test_what_cannot_be_a_slice_is_refused_by_name(tmp_path, attributes, reason):
    path = _one(tmp_path, **attributes)

    with pytest.raises(UnsupportedImage, match=re.escape(reason)):
        read_slice(path)


def test_a_number_that_is_none_is_refused_without_quoting_it(tmp_path):
    path = _one(tmp_path)
    content = path.read_bytes()
    spacing = content.index(b"0.9\\0.7")
    path.write_bytes(content[:spacing] + b"DOE\\JAN" + content[spacing + 7 :])

    with pytest.raises(UnsupportedImage, match="wanted a number in Pixel Spacing") as caught:
        read_slice(path)

    assert "DOE" not in str(caught.value)
    assert "SOP Instance" in str(caught.value)


def test_absent_pixel_data_is_refused(tmp_path):
    path = _rewrite(_one(tmp_path), lambda ds: delattr(ds, "PixelData"))

    with pytest.raises(PixelsUnreadable, match="wanted Pixel Data, found none"):
        read_slice(path)


def test_a_file_cut_within_the_pixels_is_refused(tmp_path):
    path = _one(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(PixelsUnreadable, match=r"wanted 782 bytes of Pixel Data, found 68\d"):
        read_slice(path)


def test_a_file_cut_anywhere_never_raises_anything_foreign(tmp_path):
    path = _one(tmp_path)
    content = path.read_bytes()

    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(SeriesError):
            read_slice(path)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_file_with_changed_bytes_gives_a_slice_or_a_refusal(tmp_path, syntax):
    path = _one(tmp_path, transfer_syntax=syntax)
    content = path.read_bytes()
    random = np.random.default_rng(11)
    foreign = []

    for _ in range(300):
        changed = bytearray(content)
        for at in random.integers(0, len(content) - 23 * 17 * 2, 4):
            changed[at] = random.integers(0, 256)
        path.write_bytes(changed)
        foreign.extend(_foreign_exception(path))

    assert foreign == []


def _foreign_exception(path):
    """Read header and pixels; return what else than our errors was raised."""
    try:
        for image in read_slices(path)[:2]:
            read_hu(image, np.empty((image.rows, image.columns), np.int16))
    except SeriesError:
        return []
    except Exception as error:  # noqa: BLE001 - what may come is the question
        return [repr(error)]
    return []


def test_an_absent_file_is_refused(tmp_path):
    with pytest.raises(PixelsUnreadable, match="cannot be read"):
        read_slice(tmp_path / "absent.dcm")


def test_a_file_without_preamble_and_meta_information_is_read(tmp_path):
    path = _one(tmp_path, transfer_syntax=ImplicitVRLittleEndian)
    ds = pydicom.dcmread(path)
    bare = tmp_path / "bare.dcm"
    with bare.open("wb") as file:
        pydicom.filewriter.write_dataset(_little_endian(file), ds)

    found = read_slice(bare)

    assert found.transfer_syntax_uid == ImplicitVRLittleEndian
    assert found.pixels_offset is not None


def _little_endian(file):
    wrapped = pydicom.filebase.DicomFileLike(file)
    wrapped.is_little_endian = True
    wrapped.is_implicit_VR = True
    return wrapped
