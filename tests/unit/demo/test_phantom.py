"""The made-up chest CT: what it shows, and that its files are valid CT images."""

import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import CTImageStorage, JPEGLSLossless, RLELossless

from dicomnode.demo.phantom import chest_ct, opacity_percent, write_series
from dicomnode.demo.series import write_ct_series
from tests.support.ct import OBLIQUE, SHAPE_KJI, asymmetric_hu, bright_kji, make_series

# The whole thorax on a grid a tenth as fine; unequal on every axis.
SMALL = {"slices": 40, "rows": 120, "columns": 128, "spacing_kji_mm": (8.0, 3.0, 2.8)}


@pytest.fixture(scope="module")
def small():
    return chest_ct(**SMALL)


def volume_ml(mask, spacing=SMALL["spacing_kji_mm"]):
    return float(mask.sum()) * float(np.prod(spacing)) / 1000.0


def test_the_lungs_are_of_adult_size_and_the_right_one_is_larger(small):
    _, truth = small
    left, right = volume_ml(truth == 1), volume_ml(truth == 2)

    assert 4000 < left + right < 5200
    assert left < right


def test_left_lies_on_the_side_of_growing_columns(small):
    _, truth = small

    columns = np.arange(truth.shape[2])
    left = np.average(columns, weights=(truth == 1).sum((0, 1)))
    right = np.average(columns, weights=(truth == 2).sum((0, 1)))

    assert left > right + 20


def test_feet_come_first(small):
    hu, truth = small

    assert not truth[0].any()
    assert not truth[-1].any()
    # The trachea is in view at the top, the liver at the bottom on the right.
    assert hu[-1].min() < -900
    assert np.median(hu[1, 50:60, 30:45]) == pytest.approx(110, abs=25)


def test_densities_are_those_of_a_chest(small):
    hu, truth = small

    assert hu.dtype == np.int16
    assert truth.dtype == np.uint8
    assert -900 < np.median(hu[truth > 0]) < -780
    assert np.median(hu[:, 0, :]) == pytest.approx(-1000, abs=15)
    assert hu.max() > 400
    assert hu.min() >= -1024


def test_the_same_seed_makes_the_same_voxels(small):
    hu, truth = small

    again, truth_again = chest_ct(**SMALL)
    other, _ = chest_ct(**SMALL, seed=7)

    assert np.array_equal(hu, again)
    assert np.array_equal(truth, truth_again)
    assert not np.array_equal(hu, other)


def test_a_few_percent_of_the_lungs_are_opaque(small):
    _, truth = small

    assert 5.0 < opacity_percent(truth, SMALL["spacing_kji_mm"]) < 12.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"slices": 0},
        {"columns": -1},
        {"spacing_kji_mm": (2.5, 0.0, 0.7)},
        {"spacing_kji_mm": (1, 1)},
    ],
    ids=["no slices", "negative columns", "no spacing", "two spacings"],
)
def test_a_size_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="wanted counts of at least 1"):
        chest_ct(**{"slices": 2, "rows": 8, "columns": 9} | wrong)


def test_a_single_voxel_can_be_made():
    hu, truth = chest_ct(slices=1, rows=1, columns=1)

    assert hu.shape == truth.shape == (1, 1, 1)


def test_the_series_is_one_ct_from_feet_to_head(tmp_path):
    paths = write_series(tmp_path / "new", slices=4, rows=30, columns=40)

    headers = [pydicom.dcmread(path) for path in paths]

    positions = [float(ds.ImagePositionPatient[2]) for ds in headers]
    assert [b - a for a, b in pairwise(positions)] == [2.5] * 3
    assert [ds.InstanceNumber for ds in headers] == [4, 3, 2, 1]
    assert {ds.SOPClassUID for ds in headers} == {CTImageStorage}
    assert {str(ds.PatientName) for ds in headers} == {"PHANTOM^CHEST"}
    assert {ds.PatientID for ds in headers} == {"DICOMNODE-PHANTOM"}
    assert len({ds.SeriesInstanceUID for ds in headers}) == 1
    assert len({ds.SOPInstanceUID for ds in headers}) == 4
    assert all(ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID for ds in headers)


def test_uids_are_fresh_unless_seeded(tmp_path):
    size = {"slices": 1, "rows": 4, "columns": 5}

    def uids(name, **kwargs):
        (path,) = write_series(tmp_path / name, **size, **kwargs)
        ds = pydicom.dcmread(path)
        return ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID

    assert not set(uids("a")) & set(uids("b"))
    assert uids("c", uid_seed=1) == uids("d", uid_seed=1)
    assert not set(uids("e", uid_seed=1)) & set(uids("f", uid_seed=2))


def test_stored_values_read_back_as_hounsfield_units(tmp_path):
    hu = asymmetric_hu()

    paths = make_series(tmp_path)

    k, j, i = bright_kji(SHAPE_KJI)
    read = [pydicom.dcmread(path) for path in paths]
    values = np.stack([ds.pixel_array * ds.RescaleSlope + ds.RescaleIntercept for ds in read])
    assert np.array_equal(hu, values)
    assert np.argmax(values) == np.ravel_multi_index((k, j, i), SHAPE_KJI)


def test_slices_run_along_row_x_column_cosines(tmp_path):
    paths = make_series(tmp_path, orientation=OBLIQUE, spacing_kji_mm=(2.0, 0.9, 0.7))

    positions = [np.array(pydicom.dcmread(p).ImagePositionPatient, float) for p in paths]

    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    steps = np.diff(positions, axis=0)
    assert np.allclose(steps, 2.0 * normal, atol=1e-6)


def test_file_names_give_no_hint_of_the_order(tmp_path):
    paths = make_series(tmp_path)

    assert paths != sorted(paths)
    assert sorted(paths) == sorted(tmp_path.iterdir())


def test_attributes_can_be_changed_by_slice_and_left_out(tmp_path):
    paths = make_series(
        tmp_path,
        shape_kji=(3, 4, 5),
        PatientID="X1",
        SliceThickness=None,
        InstanceNumber=lambda k: 100 + k,
    )

    read = [pydicom.dcmread(path) for path in paths]

    assert [ds.InstanceNumber for ds in read] == [100, 101, 102]
    assert {ds.PatientID for ds in read} == {"X1"}
    assert not any("SliceThickness" in ds for ds in read)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, RLELossless, "1.2.840.10008.1.2.2"])
def test_other_transfer_syntaxes_hold_the_same_pixels(tmp_path, syntax):
    paths = make_series(tmp_path, transfer_syntax=syntax)

    ds = pydicom.dcmread(paths[5])

    assert ds.file_meta.TransferSyntaxUID == syntax
    assert np.array_equal(ds.pixel_array - 1024, asymmetric_hu()[5])


@pytest.mark.parametrize(
    ("hu", "names", "message"),
    [
        (np.zeros((2, 3), np.int16), None, "three axes"),
        (np.zeros((2, 3, 4), np.float32), None, "int16"),
        (np.zeros((2, 3, 4), np.int16), ["one"], "one file name a slice"),
        (np.full((2, 3, 4), 32000, np.int16), None, "at most 31743 HU"),
    ],
    ids=["a plane", "floats", "too few names", "too bright"],
)
def test_voxels_that_cannot_be_stored_are_refused(tmp_path, hu, names, message):
    with pytest.raises(ValueError, match=message):
        write_ct_series(
            tmp_path, hu, spacing_kji_mm=(1, 1, 1), origin_lps=(0, 0, 0), file_names=names
        )


@pytest.mark.parametrize("oblique", [False, True], ids=["axial", "oblique"])
def test_dciodvfy_finds_no_fault(tmp_path, oblique):
    command = shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
    assert command, "dciodvfy is in the development dependency dicom3tools"
    paths = (
        make_series(tmp_path, orientation=OBLIQUE)
        if oblique
        else write_series(tmp_path, slices=2, rows=20, columns=30)
    )

    done = subprocess.run(
        [command, "-new", paths[0]], capture_output=True, text=True, check=False, timeout=60
    )

    assert (done.stdout + done.stderr).split() == ["CTImage"]
