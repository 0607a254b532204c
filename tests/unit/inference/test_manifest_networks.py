"""Manifests of networks that want the volume prepared: what contradicts itself is refused."""

from pathlib import Path

import pytest

from dicomnode.errors import ManifestInvalid
from dicomnode.inference.manifest import CONTRACTS, load_manifest
from dicomnode.inference.schema.preparation import ORIENTATIONS


def text_of(name: str) -> str:
    return (CONTRACTS / name / "manifest.toml").read_text()


def faults_of(tmp_path: Path, text: str) -> str:
    path = tmp_path / "manifest.toml"
    path.write_text(text)
    with pytest.raises(ManifestInvalid) as caught:
        load_manifest(path)
    return str(caught.value)


def test_there_are_48_orientations():
    assert len(ORIENTATIONS) == 48
    assert {"LPS", "RAS", "SLP", "AIR"} <= ORIENTATIONS
    assert "LRS" not in ORIENTATIONS


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('orientation = "LPS"', 'orientation = "LRS"', "input.orientation: wants one letter each"),
        ('layout = "NCXYZ" }', 'layout = "NXCYZ" }', "input.volume.layout: "),
        ('layout = "NCXYZ" }', 'layout = "CXYZ" }', "input.volume.layout: wanted N for 4 windows"),
        ("channels = [ 0, 1 ]", "channels = [ 0, 2 ]", "channels.1: no segment has number 2"),
        ("channels = [ 0, 1 ]", "channels = [ 0, 0 ]", "channels: wanted segment 1 among them"),
        ("channels = [ 0, 1 ]", "channels = [ 1 ]", "softmax wants two channels, found one"),
        ("clip_hu = [ -1500.0, 500.0 ]", "clip_hu = [ 500.0, -1500.0 ]", "lower number first"),
        ("overlap = 0.6", "overlap = 1.0", "input.windows.overlap: "),
        ("[input.windows]", "[input.resize]\nsize=[1,2,3]\nmethod='area'\n[input.windows]", "both"),
        ("spacing_mm = [ 0.8, 0.8, 5.0 ]", "spacing_mm = [ 0.8, 5.0 ]", "input.resample.spacing"),
        ("[output]", '[output]\nlabels = { dtype = "UINT8" }', "output: wanted one of labels, pro"),
        ("[output]", '[output]\nscores = { dtype = "FP32" }', "output.scores: is not for models"),
        ("[input.resample]", "[input.crop]\nto = 'segment'\n[input.resample]", "crop.structures: "),
        (
            "[input.resample]",
            "[input.spacing]\ndtype='FP32'\ntensor='S'\n[input.resample]",
            "input.spacing: is for models that see the volume on its own grid",
        ),
        ("[input.windows]", "[input.nifti]\n[input.windows]", "input: wanted one of volume, nifti"),
        ("overlap =", "overlapp =", "no such key; did you mean 'overlap'?"),
    ],
)
def test_a_fault_of_a_network_is_named(tmp_path: Path, old: str, new: str, fault: str):
    text = text_of("clara_lung_pt")
    assert old in text

    assert fault in faults_of(tmp_path, text.replace(old, new))


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("clara_lesion_pt", "segment = 1\n", "segment = 3\n", "ratios.0.segment: no segment has"),
        ("monai_covid", 'answer = "COVID Negative"', "", "classes.0.answer: is required for dec"),
        ("monai_covid", 'answer = "COVID Negative"', 'answer = "COVID Positive"', "already names"),
        ("monai_covid", '"named"', '"argmax"', "output.answer: wanted together with decision"),
        ("monai_covid", "[output]", "[input.intensity]\n[output]", "input.intensity: is not for"),
        ("clara_covid", "[input.resize]", "[input.windows]", "input.windows: a classification is"),
    ],
)
def test_a_fault_of_other_styles_is_named(
    tmp_path: Path, name: str, old: str, new: str, fault: str
):
    text = text_of(name)
    assert old in text

    assert fault in faults_of(tmp_path, text.replace(old, new))
