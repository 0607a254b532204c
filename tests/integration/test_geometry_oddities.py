"""Tilted, repeated, incomplete and shuffled series, generated and real, against other opinions."""

import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from dicomnode.errors import MissingSlices
from dicomnode.imaging.contents import open_series
from dicomnode.imaging.files import find_series
from dicomnode.imaging.grid import straighten, to_model_grid
from dicomnode.imaging.policy import GatePolicy
from dicomnode.imaging.volume import read_series, read_volume
from dicomnode.model.selection import SelectionRules
from dicomnode.series.selection import RULE_KEYWORDS, decide
from tests.support.ct import BRIGHT_HU, make_series

ROOT = Path(__file__).resolve().parents[2]


def _rotation(a, b, c):
    """Row and column cosines of any orientation."""
    row = np.array([np.cos(a) * np.cos(b), np.sin(a) * np.cos(b), -np.sin(b)])
    side = np.array([-np.sin(a), np.cos(a), 0])
    return row, np.cos(c) * side + np.sin(c) * np.cross(row, side)


def _place_of_bright(path):
    """Where the bright voxel of a file lies, by the equation of PS3.3 C.7.6.2.1.1 alone."""
    ds = pydicom.dcmread(path)
    rows, columns = np.nonzero(ds.pixel_array + int(ds.RescaleIntercept) == BRIGHT_HU)
    x, y = np.array(ds.ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, ds.PixelSpacing)
    origin = np.array(ds.ImagePositionPatient, float)
    return [
        origin + x * between_columns * column + y * between_rows * row
        for row, column in zip(rows, columns, strict=True)
    ]


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.generate))
@given(
    angles=st.tuples(*[st.floats(-3.1, 3.1)] * 3),
    spacing=st.tuples(st.floats(0.5, 6), st.floats(0.3, 1.1), st.floats(0.3, 1.1)),
    shape=st.tuples(st.integers(7, 9), st.integers(6, 12), st.integers(13, 17)),
    tilt=st.tuples(st.floats(-0.45, 0.45), st.floats(-0.45, 0.45)),
    repeated=st.integers(0, 3),
    gap=st.booleans(),
    order=st.randoms(use_true_random=False),
)
def test_the_bright_voxel_keeps_its_place_whatever_was_done_to_the_series(
    angles, spacing, shape, tilt, repeated, gap, order
):
    row, column = _rotation(*angles)
    normal = np.cross(row, column)
    step = spacing[0] * (normal + tilt[0] * row + tilt[1] * column)
    with tempfile.TemporaryDirectory() as folder:
        paths = make_series(
            Path(folder),
            shape_kji=shape,
            spacing_kji_mm=spacing,
            orientation=(*row, *column),
            # 16 characters: to a thousandth of a millimeter.
            ImagePositionPatient=lambda k: [
                f"{each:.4f}" for each in (-41.5, 12.25, -203) + k * step
            ],
        )
        (bright,) = [place for path in paths for place in _place_of_bright(path)]
        given_paths = [*paths, *order.sample(paths, repeated)]
        removed = None
        if gap:
            # Next to the last, so that the largest block holds the bright voxel.
            removed = shape[0] - 2
            given_paths = [each for each in given_paths if each != paths[removed]]
            if spacing[0] > 0.5:
                with pytest.raises(MissingSlices):
                    read_volume(given_paths)
        order.shuffle(given_paths)

        found = read_series(given_paths, GatePolicy(gaps="largest_block"))

    volume = found.volume
    assert volume.geometry.shape_kji[0] == (removed if gap else shape[0])
    ((k, j, i),) = np.argwhere(volume.voxels_hu == BRIGHT_HU)
    np.testing.assert_allclose(
        volume.geometry.to_lps(np.array([i, j, k], float)), bright, atol=0.02
    )
    labels = (volume.voxels_hu == BRIGHT_HU).astype(np.uint8)
    grid = to_model_grid(volume, "LPS")
    np.testing.assert_array_equal(grid.restore(grid.apply(labels)), labels)
    axes = grid.geometry.affine_ijk_to_lps[:3, :3]
    cosines = axes / np.linalg.norm(axes, axis=0)
    np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=0.003)
    where = np.argwhere(grid.apply(labels))[0][::-1].astype(float)
    half_a_pixel = 0.51 * np.hypot(spacing[1], spacing[2])
    assert np.linalg.norm(grid.geometry.to_lps(where) - bright) < half_a_pixel + 0.02


@pytest.fixture(scope="session")
def unpack(cases, tmp_path_factory):
    """Unpack a series of the cases; return its folder."""

    def unpack_one(name):
        folder = tmp_path_factory.mktemp("case")
        with tarfile.open(cases / name) as archive:
            archive.extractall(folder, filter="data")
        return folder

    return unpack_one


@pytest.mark.cases
def test_a_straightened_phantom_is_that_of_dcm2niix(unpack, tmp_path):
    folder = unpack("odd/gantry-tilt/head-phantom-philips-tilt16.5.tar.xz")
    tool = shutil.which("dcm2niix", path=os.defpath)
    assert tool is not None, "wanted Debian's dcm2niix"
    command = [tool, "-z", "n", "-x", "n", "-f", "volume", "-o", str(tmp_path), str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    content = (tmp_path / "volume_Tilt_1.nii").read_bytes()
    i, j, k = np.frombuffer(content, "<i2", 3, 42)
    theirs = np.frombuffer(content, "<i2", int(i) * int(j) * int(k), 352).reshape(k, j, i)

    ours = straighten(read_volume([path for path in folder.rglob("*") if path.is_file()]))

    assert ours.voxels_hu.shape == theirs.shape
    # dcm2niix turns the rows round.  It interpolates otherwise at the edge of the air it adds, so
    # the images are alike, not equal; one row's shift would bring the correlation below 0.99.
    alike = np.corrcoef(ours.voxels_hu[::3, ::2, ::4].ravel(), theirs[::3, ::-2, ::4].ravel())[0, 1]
    assert alike > 0.999
    ras = np.frombuffer(content, "<f4", 12, 280).reshape(3, 4)[:, :3].astype(float)
    # To LPS, and the rows turned back.
    theirs_lps = np.diag([-1, -1, 1]) @ ras @ np.diag([1, -1, 1])
    np.testing.assert_allclose(ours.geometry.affine_ijk_to_lps[:3, :3], theirs_lps, atol=1e-3)


@pytest.mark.cases
def test_labels_of_a_tilted_phantom_go_back_onto_its_slices(unpack):
    folder = unpack("odd/gantry-tilt/head-phantom-philips-tilt16.5.tar.xz")
    volume = read_volume([path for path in folder.rglob("*") if path.is_file()])
    bone = (volume.voxels_hu > 300).astype(np.uint8)

    grid = to_model_grid(volume, "LPS")

    np.testing.assert_array_equal(grid.restore(grid.apply(bone)), bone)
    seen = grid.restore((grid.voxels_hu > 300).astype(np.uint8))
    overlap = 2 * (seen & bone).sum() / (seen.sum() + bone.sum())
    assert overlap > 0.97


@pytest.mark.cases
def test_a_localizer_and_its_summaries_are_left_out_of_the_series_of_their_study(cases, unpack):
    axial = [
        path
        for path in unpack("negative/head-phantom-philips-5mm.tar.xz").rglob("*")
        if path.is_file()
    ]
    others = sorted((cases / "odd" / "localizer-and-summary").iterdir())

    contents = open_series([*others, *axial])
    found = find_series([*others, *axial])

    assert contents.traits.image_count == 28
    assert (contents.traits.localizer_count, contents.traits.other_count) == (1, 2)
    assert len(found.series) == 2
    assert len(found.left_out) == 2


@pytest.mark.cases
def test_a_truncated_slice_of_a_real_series_counts_as_missing(cases, unpack):
    folder = unpack("chest/lidc-idri-0001.tar.xz")
    truncated = cases / "odd" / "malformed" / "lidc-idri-0001-instance84-truncated.dcm"
    uid = pydicom.dcmread(truncated, stop_before_pixels=True).SOPInstanceUID
    paths = [path for path in folder.rglob("*") if path.is_file()]
    whole = [
        path
        for path in paths
        if pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID != uid
    ]
    assert len(whole) == len(paths) - 1

    with pytest.raises(MissingSlices, match=f"{uid}.*found 51078"):
        read_volume([*whole, truncated])
    found = read_series([*whole, truncated], GatePolicy(gaps="largest_block"))

    assert found.volume.geometry.shape_kji[0] == 83
    assert [each.path for each in found.faulty] == [truncated]


# --- the table of odd cases


def _documented():
    return (ROOT / "docs" / "geometry.md").read_text(encoding="utf-8")


@pytest.mark.cases
def test_every_odd_and_negative_file_has_a_line_in_the_table(cases):
    text = _documented()
    files = [
        path.relative_to(cases)
        for part in ("odd", "negative")
        for path in (cases / part).rglob("*")
        if path.is_file()
    ]

    assert len(files) > 40
    assert [str(path) for path in files if f"`{path}`" not in text] == []


def test_every_test_that_the_table_names_exists():
    named = set(re.findall(r"`(test_\w+)`", _documented()))
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")
    )

    assert len(named) > 20
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


@pytest.mark.cases
def test_a_real_reformat_is_not_selected(unpack):
    folder = unpack("odd/reformat/acrin-flt-breast-013-sagittal-nonsquare-20slices.tar.xz")
    paths = [path for path in folder.rglob("*") if path.is_file()]

    decision = decide(SelectionRules(), open_series(paths, RULE_KEYWORDS).traits)

    assert decision.sentence == "Not selected: plane: wanted axial, found sagittal"


@pytest.mark.cases
def test_a_real_localizer_is_not_selected(cases):
    path = cases / "odd" / "localizer-and-summary" / "philips-surview-localizer.dcm"

    decision = decide(SelectionRules(), open_series([path], RULE_KEYWORDS).traits)

    assert not decision.is_selected
    assert "found 0 slices, 1 localizers" in decision.sentence


@pytest.mark.cases
@pytest.mark.parametrize(
    "name", ["chest/lidc-idri-0001.tar.xz", "chest/cmb-crc-msb-01068-lung.tar.xz"]
)
def test_a_real_chest_series_is_selected(unpack, name):
    paths = [path for path in unpack(name).rglob("*") if path.is_file()]

    assert decide(SelectionRules(), open_series(paths, RULE_KEYWORDS).traits).is_selected
