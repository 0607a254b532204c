"""What `dicomnode process` says and writes without asking a model."""

import json

import numpy as np
import pytest
import SimpleITK
from rich.progress import Progress
from typer.testing import CliRunner

from dicomnode.cli.main import app
from tests.support.ct import asymmetric_hu, make_series
from tests.support.fake_triton import FakeTriton


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Run the command in an empty folder; return exit code, output and JSON."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        return CliRunner().invoke(app, ["process", *map(str, arguments)])

    return run


def test_explain_says_every_rule_and_the_volume(process, tmp_path):
    make_series(tmp_path / "ct")

    told = process(tmp_path / "ct", "--explain", "--json")

    assert told.exit_code == 0, told.output
    (series,) = json.loads(told.stdout)
    assert series["decision"]["is_selected"]
    assert len(series["decision"]["rules"]) == 10
    assert series["shape_kji"] == [9, 23, 17]
    assert series["spacing_ijk_mm"] == pytest.approx([0.7, 0.9, 2.5])


def test_explain_says_in_words_why_a_series_is_refused(process, tmp_path):
    paths = make_series(tmp_path / "ct")
    paths[4].unlink()

    told = process(tmp_path / "ct", "--explain")

    assert told.exit_code == 1
    assert "Selected: every rule passed." in told.stdout
    assert "Refused (missing_slices): wanted gaps of 2.500 mm" in told.stdout


def test_explain_says_why_a_series_is_not_selected(process, tmp_path):
    make_series(tmp_path / "ct", ImageType=["DERIVED", "SECONDARY", "MPR"])

    told = process(tmp_path / "ct", "--explain")

    assert told.exit_code == 1
    assert "Not selected: reformats: wanted no reformat" in told.stdout


@pytest.mark.parametrize("name", ["ct.nii.gz", "ct.mha"])
def test_the_volume_is_written_also_of_a_series_that_is_not_selected(process, tmp_path, name):
    make_series(tmp_path / "ct", ImageType=["DERIVED", "SECONDARY", "MPR"])

    told = process(tmp_path / "ct", "--volume-out", tmp_path / name)

    assert told.exit_code == 0, told.output
    found = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / name))
    np.testing.assert_array_equal(found, asymmetric_hu())


def test_of_several_series_each_volume_has_its_own_name(process, tmp_path):
    make_series(tmp_path / "ct" / "a", SeriesInstanceUID="1.2.3")
    make_series(tmp_path / "ct" / "b", SeriesInstanceUID="1.2.4")

    assert process(tmp_path / "ct", "--volume-out", tmp_path / "ct.mha").exit_code == 0

    assert {path.name for path in tmp_path.glob("*.mha")} == {"1.2.3.ct.mha", "1.2.4.ct.mha"}


@pytest.mark.parametrize("arguments", [(), ("--volume-out", "ct.png")])
def test_what_makes_no_sense_is_a_usage_error(process, tmp_path, arguments):
    make_series(tmp_path / "ct")

    assert process(tmp_path / "ct", *arguments).exit_code == 2


def test_a_bar_shows_how_far_the_series_are(process, tmp_path, monkeypatch):
    for seed in (1, 2):
        make_series(tmp_path / "ct" / str(seed), seed=seed)
    monkeypatch.setattr("dicomnode.cli.process.open_triton", lambda *_: FakeTriton())
    told = []
    update = Progress.update
    monkeypatch.setattr(
        Progress,
        "update",
        lambda self, task, **named: (told.append(named), update(self, task, **named)),
    )

    ended = process(tmp_path / "ct", "--out", tmp_path / "out")

    assert ended.exit_code == 0, ended.output
    assert [each["completed"] for each in told] == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert told[6]["description"] == "series 2 of 2: assemble"
    assert len(list((tmp_path / "out").rglob("seg.dcm"))) == 2


def test_a_folder_without_dicom_is_told_with_what_lies_there(process, tmp_path):
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "notes.txt").write_text("no DICOM here")

    told = process(tmp_path / "papers", "--out", tmp_path / "out")

    assert told.exit_code == 1
    assert "no CT series was found" in told.stderr
    assert "notes.txt" in told.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_at_all_is_a_usage_error(process, tmp_path):
    assert process(tmp_path / "absent", "--out", tmp_path / "out").exit_code == 2
