"""The doors for people without a PACS at hand: ``dicomnode demo`` and ``dicomnode process``."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from dicomnode.demo.phantom import SPACING_KJI_MM, chest_ct
from tests.acceptance.results import assert_results_fit, grid_of
from tests.support.node import run_command

SIDES = {"Left lung": 1, "Right lung": 2}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder that the demonstration filled, and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "out"
    ended = run_command("demo", "--out", out, seconds=200)
    assert ended.returncode == 0, ended.stderr
    return out, ended


@pytest.fixture(scope="module")
def processed(demo, tmp_path_factory):
    """What ``process --json`` says of the demonstration's CT."""
    out, _ = demo
    folder = tmp_path_factory.mktemp("processed")
    ended = run_command("process", out / "ct", "--out", folder, "--json", cwd=folder)
    assert ended.returncode == 0, ended.stderr
    return folder, json.loads(ended.stdout)


def volumes_ml(findings):
    return {each["label"]: each["volume_ml"] for each in findings["segments"]}


def test_the_demo_writes_every_result(demo):
    out, ended = demo

    names = {path.name for path in out.iterdir()}
    assert names == {"ct", "seg.dcm", "sr.dcm", "overlay.png", "findings.json"}
    assert len(list((out / "ct").iterdir())) >= 120
    for name in names:
        assert str(out / name) in ended.stdout
    assert "Traceback" not in ended.stderr


def test_the_demo_finds_the_lungs_of_the_phantom(demo):
    out, ended = demo
    findings = json.loads((out / "findings.json").read_text())
    _, truth = chest_ct()
    voxel_ml = float(np.prod(SPACING_KJI_MM)) / 1000

    found = volumes_ml(findings)
    for label, number in SIDES.items():
        wanted = float((truth == number).sum()) * voxel_ml
        assert found[label] == pytest.approx(wanted, rel=0.05)
        assert f"{label}: {found[label]:.0f} mL" in ended.stdout
    assert len(findings["classifications"]) == 1
    assert findings["classifications"][0]["answer"]["meaning"] in ended.stdout


def test_the_demos_seg_and_sr_fit_its_ct(demo, tmp_path):
    out, _ = demo
    paths = sorted((out / "ct").iterdir())

    assert_results_fit(dcmread(out / "seg.dcm"), dcmread(out / "sr.dcm"), paths, tmp_path)


def test_the_demos_picture_shows_something(demo):
    out, _ = demo

    with Image.open(out / "overlay.png") as image:
        image.load()
        pixels = np.asarray(image.convert("RGB"), dtype=int)

    assert min(image.size) >= 300
    assert pixels.std() > 20
    # Gray is the CT; the segments are in color.
    colored = np.ptp(pixels, axis=-1) > 40
    assert 0.01 < colored.mean() < 0.9


def test_process_finds_the_same_in_the_same_files(demo, processed):
    out, _ = demo
    folder, [series] = processed

    assert series["state"] == "done"
    assert series["series_instance_uid"] == grid_of([*(out / "ct").iterdir()]).series_instance_uid
    assert sorted(series["files"]) == ["findings.json", "overlay.png", "seg.dcm", "sr.dcm"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(series["files"])
    findings = json.loads((out / "findings.json").read_text())
    assert volumes_ml(series["findings"]) == volumes_ml(findings)
    assert series["findings"]["classifications"] == findings["classifications"]


def test_process_of_a_series_with_a_hole_makes_an_sr_that_says_why(write_phantom, triton, tmp_path):
    paths = write_phantom(tmp_path / "ct")
    paths[17].unlink()
    config = tmp_path / "dicomnode.toml"
    config.write_text(f'[inference]\ntriton = "{triton}"\n')

    ended = run_command(
        *("process", tmp_path / "ct", "--out", tmp_path / "out"),
        *("--config", config, "--json"),
        cwd=tmp_path,
    )

    assert ended.returncode == 1
    [series] = json.loads(ended.stdout)
    assert (series["state"], series["reason"]) == ("refused", "missing_slices")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sr.dcm"]
    report = dcmread(tmp_path / "out" / "sr.dcm")
    texts = [str(each.value) for each in report.iterall() if each.keyword == "TextValue"]
    assert any(series["sentence"] in text for text in texts)
    assert report.StudyInstanceUID == dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID
