from pathlib import Path

import pytest

from dicomnode.errors import InferenceUnavailable
from dicomnode.inference.manifest import SHIPPED_MODELS
from dicomnode.inference.repository import with_instances


def test_without_a_wish_the_repositories_stay(tmp_path: Path):
    assert with_instances([SHIPPED_MODELS], {}, folder=tmp_path / "models") == (SHIPPED_MODELS,)


def test_a_model_gets_its_instances_and_the_others_stay_as_they_are(tmp_path: Path):
    for _ in range(2):  # a second start finds the links of the first
        (made,) = with_instances(
            [SHIPPED_MODELS], {"lung_segmentation": 3}, folder=tmp_path / "models"
        )

    text = (made / "lung_segmentation" / "config.pbtxt").read_text()
    assert text.count("instance_group") == 1
    assert text.endswith("instance_group [ { kind: KIND_CPU count: 3 } ]\n")
    assert "VOLUME_HU" in text
    assert (made / "lung_segmentation" / "1" / "model.py").is_file()
    other = made / "opacity_burden" / "config.pbtxt"
    assert other.read_text() == (SHIPPED_MODELS / "opacity_burden" / "config.pbtxt").read_text()


def test_a_model_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(InferenceUnavailable, match=r"no model is called lungs; known are lung_seg"):
        with_instances([SHIPPED_MODELS], {"lungs": 2}, folder=tmp_path / "models")
