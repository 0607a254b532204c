from pathlib import Path

import pydicom
from pydicom.uid import ImplicitVRLittleEndian

from dicomnode.imaging.files import find_series
from tests.support.ct import make_series


def _reasons(found):
    return {each.path.name: each.reason for each in found.left_out}


def test_files_of_folders_and_subfolders_are_grouped_by_series(tmp_path):
    one = make_series(tmp_path / "a" / "deep", seed=1)
    two = make_series(tmp_path / "b", seed=2)

    found = find_series([tmp_path]).series

    ds_one, ds_two = pydicom.dcmread(one[0]), pydicom.dcmread(two[0])
    assert sorted(found) == sorted([ds_one.SeriesInstanceUID, ds_two.SeriesInstanceUID])
    assert found[ds_one.SeriesInstanceUID].paths == tuple(sorted(one))
    assert found[ds_two.SeriesInstanceUID].study_instance_uid == ds_two.StudyInstanceUID


def test_a_file_named_twice_counts_once(tmp_path):
    paths = make_series(tmp_path / "a", seed=1)
    (tmp_path / "link").symlink_to(tmp_path / "a", target_is_directory=True)

    (series,) = find_series([tmp_path / "a", *paths, tmp_path]).series.values()

    assert len(series.paths) == len(paths)


def test_a_link_back_to_a_folder_above_ends(tmp_path):
    make_series(tmp_path / "a", seed=1)
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)

    assert len(find_series([tmp_path]).series) == 1


def test_what_is_left_out_is_listed_with_a_reason(tmp_path):
    paths = make_series(tmp_path, seed=1)
    (tmp_path / "notes.txt").write_text("no DICOM at all, only some words of prose")
    (tmp_path / "empty").touch()
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 40)
    other = pydicom.dcmread(paths[0])
    other.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    other.save_as(tmp_path / "mr.dcm")
    nameless = pydicom.dcmread(paths[0])
    del nameless.SeriesInstanceUID
    nameless.save_as(tmp_path / "nameless.dcm")

    found = find_series([tmp_path, tmp_path / "absent"])

    reasons = _reasons(found)
    assert len(next(iter(found.series.values())).paths) == len(paths)
    assert set(reasons) == {"notes.txt", "empty", "noise", "mr.dcm", "nameless.dcm", "absent"}
    assert reasons["mr.dcm"] == "not a CT image (SOP Class UID 1.2.840.10008.5.1.4.1.1.4)"
    assert reasons["nameless.dcm"] == "absent or malformed: SeriesInstanceUID"
    assert reasons["absent"] == "not there, or no regular file"
    assert reasons["empty"].startswith("not DICOM")
    assert reasons["notes.txt"].startswith("not DICOM")
    assert reasons["noise"].startswith("not DICOM")


def test_a_file_without_preamble_and_meta_information_is_found(tmp_path):
    path = make_series(tmp_path / "a", seed=1, transfer_syntax=ImplicitVRLittleEndian)[0]
    bare = tmp_path / "bare"
    pydicom.dcmwrite(bare, _without_meta(path), implicit_vr=True, little_endian=True)

    (series,) = find_series([bare]).series.values()

    assert series.paths == (bare,)
    assert bare.read_bytes()[128:132] != b"DICM"


def _without_meta(path: Path) -> pydicom.Dataset:
    ds = pydicom.Dataset()
    ds.update(pydicom.dcmread(path))
    return ds
