import hashlib
from pathlib import Path

import pytest

from dicomnode.errors import ManifestInvalid
from dicomnode.inference.manifest import SHIPPED_MODELS, find_manifests, load_manifest


def written(folder: Path, text: str, name: str = "model") -> Path:
    path = folder / name / "manifest.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def faults_of(path: Path) -> str:
    with pytest.raises(ManifestInvalid) as caught:
        load_manifest(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_segmentation_manifest_says_who_the_model_is(tmp_path: Path, segmenting: str):
    path = written(tmp_path, segmenting)

    manifest = load_manifest(path)
    identity = manifest.identity("triton 2.51.0")

    assert manifest.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert identity.name == "Threshold"
    assert identity.version == "1.2.3"
    assert identity.triton_model == "threshold"
    assert identity.server == "triton 2.51.0"
    assert identity.manifest_digest == manifest.digest
    assert [each.label for each in manifest.segments] == ["Left lung", "Right lung"]


def test_a_classification_manifest_has_classes_and_measurements(tmp_path: Path, classifying: str):
    manifest = load_manifest(written(tmp_path, classifying))

    assert manifest.classification is not None
    assert [each.from_score for each in manifest.classification.classes] == [0.0, 50.0]
    assert manifest.measurements[0].unit == "mL"


def test_all_faults_are_told_at_once(tmp_path: Path, segmenting: str):
    text = (
        segmenting.replace('orientation = "LPS"', 'orientation = "RAX"')
        .replace("manufacturer =", "manufacturrer =")
        .replace("number = 2", "number = 3")
        .replace('meaning = "Left"', 'meaning = "Right"')
    )

    told = faults_of(written(tmp_path, text))

    assert "input.orientation: wants one letter each of L/R, P/A and S/I, found 'RAX'" in told
    assert "algorithm.manufacturrer: no such key; did you mean 'manufacturer'?" in told
    assert "algorithm.manufacturer: is required" in told
    assert "segments.1.number: wanted 2, found 3" in told
    assert "segments.0.laterality: (7771000, SCT) means 'Left', found 'Right'" in told


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("schema_version = 1", "schema_version = 2", "schema_version: "),
        ('name = "threshold"', 'name = "Thresh old"', "name: "),
        ('value = "123109"', 'value = "nothing"', "algorithm.family: (nothing, DCM) is not in"),
        ('tensor = "SPACING_MM"', 'tensor = "VOLUME_HU"', "input.spacing.tensor: 'VOLUME_HU' alr"),
        ('dtype = "INT16"', 'dtype = "INT64"', "input.volume.dtype: "),
        ("color_rgb = [252,", "color_rgb = [256,", "segments.1.color_rgb.0: "),
        ("[output]\nlabels =", "[output]\nscores =", "output.labels: is required for this task"),
        ('label = "Left lung"', f'label = "{"L" * 65}"', "segments.0.label: "),
        ('version = "1.2.3"', "version = 1.2", "algorithm.version: "),
    ],
)
def test_a_fault_of_a_segmentation_manifest_is_named(
    tmp_path: Path, segmenting: str, old: str, new: str, fault: str
):
    assert old in segmenting

    assert fault in faults_of(written(tmp_path, segmenting.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("from_score = 0.0", "from_score = 5.0", "classes.0.from_score: wanted 0 for the first"),
        ("from_score = 50.0", "from_score = 0.0", "classes.1.from_score: wanted more than 0.0"),
        ("from_score = 50.0", "", "classes.1.from_score: is required for decision grades"),
        ('"grades"', '"argmax"', "classes.0.from_score: is for decision grades"),
        ('value = "bright"', 'value = "dark"', "classes.1.code: (dark, 99TEST) already names"),
        ('unit = "mL"', 'unit = "pints"', "measurements.0.unit: is not a UCUM unit"),
        ("[[measurements]]", "[[segments]]", "segments: is for models of task segment"),
        ("measurements = {", "labels = {", "output.measurements: wanted together with"),
        ("[classification]", "[clasification]", "clasification: no such key; did you mean 'clas"),
        ('score_kind = "percent"', 'score_kind = "stars"', "classification.score_kind: "),
    ],
)
def test_a_fault_of_a_classification_manifest_is_named(
    tmp_path: Path, classifying: str, old: str, new: str, fault: str
):
    assert old in classifying

    assert fault in faults_of(written(tmp_path, classifying.replace(old, new)))


def test_what_is_no_toml_is_named(tmp_path: Path):
    assert "is not TOML" in faults_of(written(tmp_path, "name = "))
    assert "cannot be read" in faults_of(tmp_path / "nowhere.toml")


def test_manifests_are_found_in_all_repositories(tmp_path: Path, segmenting: str, classifying: str):
    written(tmp_path / "one", segmenting)
    written(tmp_path / "two", classifying)
    (tmp_path / "two" / "model_without_manifest").mkdir()

    found = find_manifests([tmp_path / "one", tmp_path / "two"])

    assert list(found) == ["threshold", "brightness"]


def test_finding_tells_the_faults_of_all_manifests(tmp_path: Path, segmenting: str):
    written(tmp_path, segmenting, "a")
    written(tmp_path, segmenting, "b")
    written(tmp_path, "", "c")

    with pytest.raises(ManifestInvalid) as caught:
        find_manifests([tmp_path, tmp_path / "nowhere"])

    told = str(caught.value)
    assert f"{tmp_path / 'b' / 'manifest.toml'}: name: " in told
    assert "has 'threshold' too" in told
    assert f"{tmp_path / 'c' / 'manifest.toml'}: schema_version: is required" in told
    assert "nowhere: wanted a folder" in told


def test_the_shipped_manifests_are_valid():
    found = find_manifests([SHIPPED_MODELS])

    assert {"lung", "opacity"} <= set(found)
