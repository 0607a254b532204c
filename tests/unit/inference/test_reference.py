import json
import re
import tomllib
from pathlib import Path

import pytest

from dicomnode.inference.manifest import CONTRACTS, SHIPPED_MODELS, find_manifests
from dicomnode.inference.reference import manifest_reference
from dicomnode.inference.schema.manifest import Manifest

PAGE = Path(__file__).resolve().parents[3] / "docs" / "models.md"


def test_the_page_has_the_reference_of_this_schema():
    told = PAGE.read_text(encoding="utf-8")

    assert f"<!-- begin reference -->\n{manifest_reference()}" in told


def test_every_key_and_table_is_explained_once():
    reference = manifest_reference()

    headings = [line for line in reference.splitlines() if line.startswith("### ")]
    assert len(headings) == len(set(headings))
    for key in ("per_call", "from_score", "margin_voxels", "largest_components", "channels"):
        assert reference.count(f"| `{key}` |") == 1


def test_the_example_of_the_page_is_a_manifest():
    text = PAGE.read_text(encoding="utf-8")
    block = text[text.index("   schema_version = 1") : text.index("3. Tell the node")]
    example = "\n".join(line[3:] for line in block.splitlines() if line.strip() != "```")

    manifest = Manifest.model_validate(tomllib.loads(example))

    assert manifest.input.windows.size == (96, 96, 96)


def test_every_shipped_manifest_is_named_on_the_page():
    text = PAGE.read_text(encoding="utf-8")
    for name, manifest in find_manifests([SHIPPED_MODELS, CONTRACTS]).items():
        assert f"| `{name}` |" in text
        if manifest.triton.model.startswith("cla"):
            assert f"| `{manifest.triton.model}` |" in text


@pytest.mark.parametrize("key", ["triton", "input", "segments"])
def test_there_is_a_json_schema(key: str):
    schema = Manifest.model_json_schema()

    assert key in schema["properties"]
    assert schema["additionalProperties"] is False
    json.dumps(schema)


def test_what_the_table_of_faults_says_is_shown_by_tests_that_exist():
    text = PAGE.read_text(encoding="utf-8")
    table = text[text.index("## When something fails") : text.index("## Manifest reference")]
    named = set(re.findall(r"`(test_\w+(?:\.py)?)`", table))
    files = list((PAGE.parents[1] / "tests").rglob("test_*.py"))
    there = {path.name for path in files}
    for path in files:
        there.update(
            re.findall(r"^def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
        )

    assert len(named) >= 12
    assert named <= there
