"""Second opinions: geometry and voxels against SimpleITK, highdicom and dcm2niix.

Generated series differ on every axis; the real ones stand in the folder of cases.
"""

import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.errors import NodeError
from dicomnode.imaging.files import find_series
from dicomnode.imaging.pixels import read_hu
from dicomnode.imaging.slices import read_slices
from dicomnode.imaging.volume import read_volume
from tests.support.ct import OBLIQUE, make_series
from tests.support.opinions import assert_agrees, dcm2niix_of, highdicom_of, itk_of

AXIAL = (1, 0, 0, 0, 1, 0)
ORIENTATIONS = {
    "axial": AXIAL,
    "prone": (-1, 0, 0, 0, -1, 0),
    "decubitus": (0, 1, 0, -1, 0, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": OBLIQUE,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def test_three_readers_agree_on_a_generated_series(tmp_path, orientation):
    paths = make_series(tmp_path / "in", orientation=orientation)

    volume = read_volume(paths)

    affine, voxels = itk_of(tmp_path / "in")
    np.testing.assert_allclose(volume.geometry.affine_ijk_to_lps, affine, atol=2e-4)
    np.testing.assert_array_equal(volume.voxels_hu, voxels)
    assert_agrees(volume, highdicom_of(paths))
    assert_agrees(volume, dcm2niix_of(tmp_path / "in", tmp_path / "out"))


@settings(max_examples=12, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    spacing=st.tuples(st.floats(0.5, 6), st.floats(0.3, 1.1), st.floats(0.3, 1.1)),
    origin=st.tuples(*[st.floats(-400, 400)] * 3),
    shape=st.tuples(st.integers(3, 7), st.integers(4, 12), st.integers(4, 12)),
    order=st.randoms(use_true_random=False),
)
def test_three_readers_agree_on_any_series(angles, spacing, origin, shape, order):
    a, b, c = angles
    row = np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), -np.sin(b)])
    side = np.array([-np.sin(a), np.cos(a), 0])
    column = np.cos(c) * side + np.sin(c) * np.cross(row, side)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_series(
            Path(folder),
            shape_kji=shape,
            spacing_kji_mm=spacing,
            orientation=(*row, *column),
            origin_lps=origin,
        )
        shuffled = list(paths)
        order.shuffle(shuffled)

        volume = read_volume(shuffled)

        affine, voxels = itk_of(folder)
        np.testing.assert_allclose(volume.geometry.affine_ijk_to_lps, affine, atol=1e-3)
        np.testing.assert_array_equal(volume.voxels_hu, voxels)
        assert_agrees(volume, highdicom_of(paths))
        with tempfile.TemporaryDirectory() as out:
            assert_agrees(volume, dcm2niix_of(folder, Path(out) / "out"))


@pytest.fixture(scope="session")
def unpacked(cases, tmp_path_factory):
    """Unpack a series of the cases, once."""
    done = {}

    def unpack(name):
        if name not in done:
            folder = tmp_path_factory.mktemp("case")
            with tarfile.open(cases / name) as archive:
                archive.extractall(folder, filter="data")
            done[name] = folder
        return done[name]

    return unpack


@pytest.mark.cases
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("negative/acrin-flt-breast-001-abdomen-pelvis.tar.xz", (99, 512, 512)),
        ("negative/head-phantom-philips-5mm.tar.xz", (28, 512, 512)),
        ("negative/totalsegmentator-body-20slices-j2k.tar.xz", "unsupported_image"),
        ("odd/gantry-tilt/head-phantom-philips-tilt16.5.tar.xz", "tilted by 16.5 degrees"),
        ("odd/gantry-tilt/siemens-head-tilt14-4slices.tar.xz", "tilted by 14.0 degrees"),
        ("odd/missing-slice/ge-head-missing-slice-4slices.tar.xz", "missing_slices"),
        ("odd/multiframe-and-seg/dcmqi-ct-3slice-and-liver-seg.tar.xz", (3, 512, 512)),
        ("odd/reformat/acrin-flt-breast-013-sagittal-nonsquare-20slices.tar.xz", (20, 512, 512)),
    ],
)
def test_what_becomes_of_an_odd_series(unpacked, name, expected):
    # What is no CT image (the liver segmentation) is sorted out before.
    found = find_series([unpacked(name)])
    paths = [path for series in found.series.values() for path in series.paths]
    paths = paths or [each.path for each in found.left_out]

    outcome = _outcome(paths)

    assert expected in outcome


def _outcome(paths):
    """Return the reason of the refusal, or shape and notes of the volume."""
    try:
        volume = read_volume(paths)
    except NodeError as error:
        return (getattr(error, "reason", None),)
    degrees = [note.removeprefix("The gantry was ").rstrip(".") for note in volume.notes]
    return (volume.voxels_hu.shape, *degrees)


# One CT slice in 15 encodings: lowest and highest Hounsfield units, or why it is not read.
SYNTAXES = {
    "1.2.840.10008.1.2": (-3024, 1378),
    "1.2.840.10008.1.2.1": (-3024, 1378),
    "1.2.840.10008.1.2.1.99": (-3024, 1378),
    "1.2.840.10008.1.2.2": (-3024, 1378),
    "1.2.840.10008.1.2.5": (-3024, 1378),
    "1.2.840.10008.1.2.4.57": (-3024, 1378),
    "1.2.840.10008.1.2.4.70": (-3024, 1378),
    "1.2.840.10008.1.2.4.80": (-3024, 1378),
    "1.2.840.10008.1.2.4.90": (-3024, 1378),
    "1.2.840.10008.1.2.4.81": (-3025, 1377),
    "1.2.840.10008.1.2.4.91": (-3027, 1377),
    "1.2.840.10008.1.2.4.50": (-3083, 1349),
    "1.2.840.10008.1.2.4.51": (-3053, 1370),
    "1.2.840.10008.1.2.4.53": "unsupported_image",
    "1.2.840.10008.1.2.4.55": "unsupported_image",
}


@pytest.mark.cases
@pytest.mark.parametrize(("syntax", "expected"), SYNTAXES.items(), ids=SYNTAXES.keys())
def test_what_becomes_of_an_encoding(cases, syntax, expected):
    (path,) = cases.glob(f"odd/transfer-syntax/CTImage_*TransferSyntax_{syntax}.dcm")

    assert expected == _range_hu(path)


ODD_FILES = {
    "charset/chrFren.dcm": "unsupported_image",
    "charset/chrH31.dcm": "unsupported_image",
    "charset/chrI2.dcm": "unsupported_image",
    "charset/chrX1.dcm": "unsupported_image",
    "charset/chrX2.dcm": "unsupported_image",
    "dose/CT-RDSR-Siemens_Flash-TAP-SS.dcm": "unsupported_image",
    "dose/ge-dose-report-secondary-capture-no-pixels.dcm": "unsupported_image",
    "localizer-and-summary/philips-exam-summary-1.dcm": "unsupported_image",
    "localizer-and-summary/philips-exam-summary-2.dcm": "unsupported_image",
    "localizer-and-summary/philips-surview-localizer.dcm": "unsupported_image",
    "malformed/ct-header-without-uids-or-pixels.dcm": "unsupported_image",
    "malformed/lidc-idri-0001-instance84-truncated.dcm": "pixels_unreadable",
    "multiframe-and-seg/dcmqi-24x38x3/image-IMG0002.dcm": (0, 1),
    "multiframe-and-seg/dcmqi-24x38x3/seg-label.seg": "unsupported_image",
    "non-image/no-pixel-data.dcm": "unsupported_image",
    "transfer-syntax/CT0012.fragmented_no_bot_jpeg_baseline.51.dcm": (-13, 1199),
}


@pytest.mark.cases
@pytest.mark.parametrize(("name", "expected"), ODD_FILES.items(), ids=ODD_FILES.keys())
def test_what_becomes_of_an_odd_file(cases, name, expected):
    assert expected == _range_hu(cases / "odd" / name)


def _range_hu(path):
    """Return the reason of the refusal, or lowest and highest value of the first slice."""
    try:
        image = read_slices(path)[0]
        hu = np.empty((image.rows, image.columns), np.int16)
        read_hu(image, hu)
    except NodeError as error:
        return getattr(error, "reason", None)
    return int(hu.min()), int(hu.max())


@pytest.mark.cases
def test_a_series_and_its_multi_frame_form_give_one_volume(cases):
    folder = cases / "odd" / "multiframe-and-seg" / "dcmqi-24x38x3"

    single = read_volume(sorted(folder.glob("image-*.dcm")))
    multi = read_volume([folder / "multiframe-mf.dcm"])

    np.testing.assert_array_equal(single.voxels_hu, multi.voxels_hu)
    np.testing.assert_allclose(
        single.geometry.affine_ijk_to_lps, multi.geometry.affine_ijk_to_lps, atol=1e-4
    )


@pytest.mark.cases
def test_malformed_files_never_raise_anything_foreign(unpacked):
    folder = unpacked("odd/malformed/fuzz-pwnlab.tar.xz")
    files = sorted(folder.rglob("*.dcm"))

    outcomes = {path.name: _range_hu(path) for path in files}
    found = find_series([folder])

    assert len(outcomes) == 72
    assert None not in outcomes.values()
    grouped = sum(len(series.paths) for series in found.series.values())
    assert grouped + len(found.left_out) == sum(path.is_file() for path in folder.rglob("*"))
