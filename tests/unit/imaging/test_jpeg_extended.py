"""12-bit JPEG Extended, one frame or many: the values of DCMTK's decoder, to the last bit."""

import os
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEGExtended12Bit

from dicomnode.errors import PixelsUnreadable
from dicomnode.imaging.slices import read_slices
from dicomnode.imaging.volume import read_volume
from tests.support.ct import asymmetric_hu, make_series

SHAPE = (5, 40, 32)


def _dcmtk(tool, *arguments):
    program = shutil.which(tool, path=os.defpath)
    assert program is not None, "wanted DCMTK of Debian"
    subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, timeout=60)


def _compressed(path):
    """Compress a file of 12-bit values, by DCMTK."""
    out = path.with_suffix(".jpeg.dcm")
    # +sr keeps the values as they are instead of stretching them to all 12 bits.
    _dcmtk("dcmcjpeg", "+ee", "+q", "98", "+bt", "+sr", "+un", path, out)
    assert pydicom.dcmread(out).file_meta.TransferSyntaxUID == JPEGExtended12Bit
    return out


def _decoded_hu(path):
    """Decode a file by DCMTK."""
    out = path.with_suffix(".plain.dcm")
    _dcmtk("dcmdjpeg", path, out)
    return pydicom.dcmread(out).pixel_array.astype(int) - 1024


@pytest.fixture
def singles(tmp_path):
    hu = asymmetric_hu(SHAPE)
    paths = make_series(
        tmp_path / "single",
        hu=hu,
        PixelRepresentation=0,
        BitsStored=12,
        HighBit=11,
        RescaleIntercept=-1024,
    )
    for path, plane in zip(paths, hu, strict=True):
        ds = pydicom.dcmread(path)
        ds.PixelData = (plane + 1024).astype("<u2").tobytes()
        ds.save_as(path)
    return paths


@pytest.fixture
def multi(tmp_path, singles):
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    converted = LegacyConvertedEnhancedCTImage(
        legacy_datasets=[pydicom.dcmread(path) for path in singles],
        series_instance_uid="1.2.3.4",
        series_number=2,
        sop_instance_uid="1.2.3.4.5",
        instance_number=1,
    )
    path = tmp_path / "multi.dcm"
    converted.save_as(path)
    return _compressed(path)


def _in_frame_order(path):
    """Read a multi-frame file; return its planes in the order of its frames."""
    volume = read_volume([path])
    numbers = [each.frame_number for each in volume.sources]
    return volume.voxels_hu[np.argsort(numbers)]


def test_a_series_of_single_frames_is_decoded_as_dcmtk_does(singles):
    compressed = [_compressed(path) for path in singles]

    volume = read_volume(compressed)

    expected = np.stack([_decoded_hu(path) for path in compressed])
    np.testing.assert_array_equal(volume.voxels_hu, expected)
    assert np.abs(expected - asymmetric_hu(SHAPE)).mean() < 10
    assert "5 of 5 slices were compressed with loss." in volume.notes


def test_frames_of_one_instance_are_decoded_as_dcmtk_does(multi):
    assert len(read_slices(multi)) == 5

    np.testing.assert_array_equal(_in_frame_order(multi), _decoded_hu(multi))


def test_a_frame_in_fragments_without_an_offset_table_is_one_frame(multi):
    expected = _in_frame_order(multi)
    ds = pydicom.dcmread(multi)
    frames = list(generate_frames(ds.PixelData, number_of_frames=5))
    ds.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=False)
    ds.save_as(multi)

    np.testing.assert_array_equal(_in_frame_order(multi), expected)


def test_frames_that_do_not_decode_are_refused(multi):
    ds = pydicom.dcmread(multi)
    ds.PixelData = encapsulate([b"\xff\xd8 no image \xff\xd9"] * 5)
    ds.save_as(multi)

    with pytest.raises(PixelsUnreadable, match=r"cannot be decoded"):
        read_volume([multi])


@pytest.mark.cases
def test_a_real_instance_of_two_frames_in_fragments_is_decoded_as_dcmtk_does(cases, tmp_path):
    from dicomnode.imaging.decoding import decode_all

    source = cases / "odd/transfer-syntax/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm"
    path = tmp_path / "perfusion.dcm"
    path.symlink_to(source)
    found = np.zeros((2, 512, 512), np.int16)

    assert decode_all(read_slices(path), list(found)) == [None, None]

    np.testing.assert_array_equal(found, _decoded_hu(path))
