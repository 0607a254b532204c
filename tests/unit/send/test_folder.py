"""Delivery to a folder: each file whole, under its own name."""

import pytest

from dicomnode.errors import SendError
from dicomnode.send import folder
from dicomnode.send.folder import check_folder, copy_to_folder
from dicomnode.spool.durable import write_durably
from tests.support.ct import make_series


@pytest.fixture
def files(tmp_path):
    return make_series(tmp_path / "ct")[:3]


def test_files_lie_in_the_subfolder_under_their_names(files, tmp_path):
    outcomes = copy_to_folder(files, folder=tmp_path / "results", subfolder="1.2.3")

    assert [each.path for each in outcomes] == files
    assert all(each.accepted and not each.transient for each in outcomes)
    for file in files:
        assert (tmp_path / "results" / "1.2.3" / file.name).read_bytes() == file.read_bytes()


def test_the_outcome_names_the_instance(files, tmp_path):
    from pydicom import dcmread

    (outcome,) = copy_to_folder(files[:1], folder=tmp_path / "results", subfolder="1.2.3")

    assert outcome.sop_instance_uid == dcmread(files[0]).SOPInstanceUID
    assert (outcome.status, outcome.words) == (None, "written")


def test_repeating_it_changes_nothing(files, tmp_path):
    copy_to_folder(files, folder=tmp_path / "results", subfolder="1.2.3")
    copy_to_folder(files, folder=tmp_path / "results", subfolder="1.2.3")

    names = sorted(each.name for each in (tmp_path / "results" / "1.2.3").iterdir())
    assert names == sorted(each.name for each in files)


def test_a_folder_that_cannot_be_written_is_transient(files, tmp_path):
    (tmp_path / "results").write_text("a file where a folder should be")

    outcomes = copy_to_folder(files, folder=tmp_path / "results", subfolder="1.2.3")

    assert all(not each.accepted and each.transient for each in outcomes)
    assert "Not a directory" in outcomes[0].words or "File exists" in outcomes[0].words


@pytest.mark.parametrize("subfolder", ["", "..", "a/b", "../x", "a\x00"])
def test_a_subfolder_that_is_no_plain_name_is_refused(files, tmp_path, subfolder):
    with pytest.raises(SendError, match="plain name"):
        copy_to_folder(files, folder=tmp_path, subfolder=subfolder)


@pytest.mark.parametrize("content", [None, b"no DICOM"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "result.dcm"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SendError, match=r"result\.dcm"):
        copy_to_folder([path], folder=tmp_path / "results", subfolder="x")


def test_a_folder_that_two_look_at_in_the_same_moment_can_be_written(tmp_path, monkeypatch):
    def write_and_lose(path, content):
        write_durably(path, content)
        path.unlink()  # as the other does

    monkeypatch.setattr(folder, "write_durably", write_and_lose)

    assert check_folder(tmp_path) == "can be written"
