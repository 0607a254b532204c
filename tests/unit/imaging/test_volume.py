"""Instance files to a volume, as a whole."""

import dataclasses

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
    RLELossless,
)

from dicomnode.errors import (
    DuplicatePositions,
    MissingSlices,
    NoImages,
    PixelsUnreadable,
    SeriesError,
    UnsupportedImage,
)
from dicomnode.imaging.policy import GatePolicy
from dicomnode.imaging.volume import read_series, read_volume
from tests.support.ct import (
    BRIGHT_HU,
    OBLIQUE,
    ORIGIN_LPS,
    SHAPE_KJI,
    SPACING_KJI_MM,
    asymmetric_hu,
    bright_kji,
    make_series,
)


def _bright_lps(orientation):
    """Position of the bright voxel, from the standard's equation and nothing of ours."""
    k, j, i = bright_kji(SHAPE_KJI)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    between_slices, between_rows, between_columns = SPACING_KJI_MM
    return (
        np.array(ORIGIN_LPS)
        + i * between_columns * row
        + j * between_rows * column
        + k * between_slices * np.cross(row, column)
    )


@pytest.mark.parametrize("orientation", [(1, 0, 0, 0, 1, 0), (0, 1, 0, 0, 0, -1), OBLIQUE])
def test_the_bright_voxel_lies_where_the_standard_says(tmp_path, orientation):
    paths = make_series(tmp_path, orientation=orientation)

    volume = read_volume(sorted(paths))

    k, j, i = np.argwhere(volume.voxels_hu == BRIGHT_HU)[0]
    np.testing.assert_allclose(
        volume.geometry.to_lps(np.array([i, j, k], float)), _bright_lps(orientation), atol=1e-3
    )


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
    ],
    ids=lambda uid: uid.name,
)
def test_every_encoding_gives_the_same_voxels(tmp_path, syntax):
    volume = read_volume(make_series(tmp_path, transfer_syntax=syntax))

    np.testing.assert_array_equal(volume.voxels_hu, asymmetric_hu())
    assert volume.notes == ()


def test_paths_and_sources_stand_in_slice_order(tmp_path):
    paths = make_series(tmp_path)

    found = read_series(sorted(paths))

    assert list(found.paths) == paths
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in paths]
    assert [each.sop_instance_uid for each in found.volume.sources] == uids
    assert found.volume.frame_of_reference_uid == pydicom.dcmread(paths[0]).FrameOfReferenceUID


def test_slope_and_intercept_are_each_slices_own(tmp_path):
    paths = make_series(tmp_path)
    ds = pydicom.dcmread(paths[4])
    ds.RescaleSlope, ds.RescaleIntercept = 0.5, -100
    ds.save_as(paths[4])
    stored = ds.pixel_array

    volume = read_volume(paths)

    np.testing.assert_array_equal(volume.voxels_hu[3], asymmetric_hu()[3])
    np.testing.assert_array_equal(volume.voxels_hu[4], np.rint(stored * 0.5 - 100))


def test_lossy_compression_and_unspecified_units_are_noted(tmp_path):
    paths = make_series(tmp_path, LossyImageCompression="01", RescaleType="US")

    assert read_volume(paths).notes == (
        "9 of 9 slices were compressed with loss.",
        "9 of 9 slices do not say the unit of their values; Hounsfield units were assumed.",
    )


def test_a_slice_named_twice_is_read_once(tmp_path):
    paths = make_series(tmp_path)

    volume = read_volume([*paths, paths[3]])

    assert volume.voxels_hu.shape == SHAPE_KJI
    assert volume.notes == ("1 repeated slices were left out.",)


def test_another_image_at_the_same_position_is_refused(tmp_path):
    one = make_series(tmp_path / "one", seed=1)
    ds = pydicom.dcmread(one[2])
    ds.SOPInstanceUID += ".9"
    ds.PixelData = bytes(len(ds.PixelData))
    ds.save_as(tmp_path / "other.dcm")

    with pytest.raises(DuplicatePositions):
        read_volume([*one, tmp_path / "other.dcm"])


def test_a_hole_in_the_series_is_refused(tmp_path):
    paths = make_series(tmp_path)

    with pytest.raises(MissingSlices, match=r"5\.000 mm between"):
        read_volume(paths[:3] + paths[4:])


def test_no_paths_are_refused():
    with pytest.raises(NoImages):
        read_volume([])


def _spoil(path):
    """Break the compressed pixels of a file; return its SOP Instance UID."""
    ds = pydicom.dcmread(path)
    ds.PixelData = ds.PixelData[:40] + bytes(len(ds.PixelData) - 40)
    ds.save_as(path)
    return str(ds.SOPInstanceUID)


def test_a_compressed_slice_that_does_not_decode_counts_as_missing(tmp_path):
    paths = make_series(tmp_path, transfer_syntax=RLELossless)
    uid = _spoil(paths[5])

    with pytest.raises(MissingSlices, match=uid):
        read_volume(paths)


def test_a_truncated_slice_counts_as_missing(tmp_path):
    paths = make_series(tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:-100])

    with pytest.raises(MissingSlices, match=r"1 slices without.*found 68\d"):
        read_volume(paths)


def test_an_instance_that_cannot_be_parsed_counts_as_missing_somewhere(tmp_path):
    paths = make_series(tmp_path)
    (tmp_path / "gone.dcm").touch()
    (tmp_path / "gone.dcm").unlink()

    with pytest.raises(MissingSlices, match="1 instances cannot be read at all"):
        read_volume([*paths, tmp_path / "gone.dcm"])


def test_a_series_without_any_pixels_is_refused(tmp_path):
    paths = make_series(tmp_path)
    for path in paths:
        path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(PixelsUnreadable, match="no slice of 9 has pixels"):
        read_volume(paths)


@pytest.mark.parametrize("how", ["absent", "truncated", "undecodable"])
def test_the_largest_block_without_a_missing_slice_is_read_and_said(tmp_path, how):
    syntax = RLELossless if how == "undecodable" else ExplicitVRLittleEndian
    paths = make_series(tmp_path, transfer_syntax=syntax)
    whole = read_volume(paths)
    if how == "absent":
        del paths[6]
    elif how == "truncated":
        paths[6].write_bytes(paths[6].read_bytes()[:-100])
    else:
        _spoil(paths[6])

    found = read_series(paths, GatePolicy(gaps="largest_block"))

    assert found.volume.geometry.shape_kji == (6, 23, 17)
    np.testing.assert_array_equal(found.volume.voxels_hu, whole.voxels_hu[:6])
    np.testing.assert_allclose(
        found.volume.geometry.affine_ijk_to_lps, whole.geometry.affine_ijk_to_lps, atol=1e-6
    )
    (note,) = found.volume.notes
    assert "The largest block without a gap was analyzed, 6 of 8 slices" in note
    assert [each.path for each in found.faulty] == ([] if how == "absent" else [paths[6]])


def test_a_whole_copy_of_a_truncated_slice_takes_its_place(tmp_path):
    paths = make_series(tmp_path)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(paths[4].read_bytes()[:-100])

    assert read_volume([*paths, cut]).voxels_hu.shape == SHAPE_KJI


def test_a_localizer_within_a_series_is_left_out_and_said(tmp_path):
    paths = make_series(tmp_path / "axial", seed=1)
    (localizer,) = make_series(
        tmp_path / "localizer",
        shape_kji=(1, 40, 60),
        orientation=(0, 1, 0, 0, 0, -1),
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        SeriesInstanceUID=str(pydicom.dcmread(paths[0]).SeriesInstanceUID),
    )

    volume = read_volume([localizer, *paths])

    assert volume.voxels_hu.shape == SHAPE_KJI
    assert volume.notes == ("1 localizers of the series were left out.",)


def test_a_false_transfer_syntax_is_refused(tmp_path):
    paths = make_series(tmp_path)
    ds = pydicom.dcmread(paths[0])
    content = paths[0].read_bytes()
    false = content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.5\0")
    paths[0].write_bytes(false)

    with pytest.raises(SeriesError, match=str(ds.SOPInstanceUID)):
        read_volume(paths)


def test_errors_hold_nothing_of_the_patient(tmp_path):
    marked = {"PatientName": "MARKED^PATIENT", "PatientID": "MARKED-1"}
    paths = make_series(tmp_path, RescaleSlope="1", **marked)
    for path in paths:
        path.write_bytes(path.read_bytes()[:-50])

    with pytest.raises(SeriesError) as caught:
        read_volume(paths)

    assert "MARKED" not in repr(caught.value)


@pytest.fixture
def multi_frame(tmp_path):
    """The same series as single-frame files and as one Legacy Converted Enhanced CT."""
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    paths = make_series(tmp_path / "single", orientation=OBLIQUE)
    sources = [pydicom.dcmread(path) for path in paths]
    converted = LegacyConvertedEnhancedCTImage(
        legacy_datasets=sources,
        series_instance_uid="1.2.3.4",
        series_number=2,
        sop_instance_uid="1.2.3.4.5",
        instance_number=1,
    )
    path = tmp_path / "multi.dcm"
    converted.save_as(path)
    return paths, path


def test_a_series_in_one_multi_frame_instance_gives_the_same_volume(multi_frame):
    singles, multi = multi_frame

    one = read_volume(singles)
    other = read_volume([multi])

    np.testing.assert_array_equal(one.voxels_hu, other.voxels_hu)
    np.testing.assert_allclose(
        one.geometry.affine_ijk_to_lps, other.geometry.affine_ijk_to_lps, atol=1e-6
    )
    assert {each.sop_instance_uid for each in other.sources} == {"1.2.3.4.5"}
    assert sorted(each.frame_number for each in other.sources) == list(range(1, 10))


def test_functional_groups_that_do_not_match_the_frames_are_refused(multi_frame):
    ds = pydicom.dcmread(multi_frame[1])
    del ds.PerFrameFunctionalGroupsSequence[-1]
    ds.save_as(multi_frame[1])

    with pytest.raises(UnsupportedImage, match="wanted 9 Per-Frame Functional Groups, found 8"):
        read_volume([multi_frame[1]])


def test_the_voxels_are_read_only(tmp_path):
    volume = read_volume(make_series(tmp_path))

    assert not volume.voxels_hu.flags.writeable
    assert dataclasses.is_dataclass(volume)
