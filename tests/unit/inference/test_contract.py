from pathlib import Path

import pytest

from dicomnode.inference.contract import Tensor, differences, wanted_inputs, wanted_outputs
from dicomnode.inference.manifest import load_manifest
from dicomnode.inference.schema.manifest import Manifest


@pytest.fixture
def manifest(tmp_path: Path, classifying: str) -> Manifest:
    path = tmp_path / "manifest.toml"
    path.write_text(classifying)
    return load_manifest(path)


def told(manifest: Manifest, **changes: Tensor | None) -> list[str]:
    given = {each.name: each for each in (*wanted_inputs(manifest), *wanted_outputs(manifest))}
    outputs = {each.name for each in wanted_outputs(manifest)}
    tensors = {**given, **changes}
    return list(
        differences(
            manifest,
            inputs=[v for k, v in tensors.items() if v is not None and k not in outputs],
            outputs=[v for k, v in tensors.items() if v is not None and k in outputs],
        )
    )


def test_a_model_as_the_manifest_says_has_no_differences(manifest: Manifest):
    assert told(manifest) == []


def test_a_model_may_leave_lengths_open(manifest: Manifest):
    assert told(manifest, SCORES=Tensor(name="SCORES", dtype="FP32", shape=(-1,))) == []


def test_a_model_of_fixed_size_does_not_take_any_volume(manifest: Manifest):
    fixed = Tensor(name="VOLUME_HU", dtype="INT16", shape=(-1, 512, 512))

    assert told(manifest, VOLUME_HU=fixed) == [
        "input VOLUME_HU: wanted INT16[-1, -1, -1], found INT16[-1, 512, 512]"
    ]


def test_a_batch_axis_is_a_difference(manifest: Manifest):
    batched = Tensor(name="SCORES", dtype="FP32", shape=(-1, 1))

    assert told(manifest, SCORES=batched) == ["output SCORES: wanted FP32[1], found FP32[-1, 1]"]


def test_an_input_that_nobody_fills_is_a_difference_unless_optional(manifest: Manifest):
    more = Tensor(name="AGE", dtype="FP32", shape=(1,))
    optional = Tensor(name="AGE", dtype="FP32", shape=(1,), optional=True)

    assert told(manifest, AGE=more) == [
        "input AGE: the model needs FP32[1], the manifest does not name it"
    ]
    assert told(manifest, AGE=optional) == []


def test_a_missing_tensor_is_told_with_those_that_are_there(manifest: Manifest):
    assert told(manifest, MEASUREMENTS=None) == [
        "output MEASUREMENTS: wanted FP32[1], found no such output (has SCORES)"
    ]
