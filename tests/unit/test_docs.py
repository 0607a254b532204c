"""The documentation: links lead somewhere, configurations are valid, alerts have their section."""

import re
import tomllib

import pytest

from dicomnode.config import load
from dicomnode.inference.manifest import load_manifest
from dicomnode.pipeline.setup import build_setups
from tests.support.pages import ROOT, anchors, blocks, links, pages

REFERENCE = ROOT / "config" / "dicomnode.toml"

ALERTS = (
    "node-down",
    "disk-full",
    "triton-down",
    "pacs-down",
    "queue-grows",
    "jobs-failed",
    "refused",
    "certificates",
)
"""Sections of docs/operations.md that alert rules link to."""

TOML = [block for page in pages() for block in blocks(page, "toml")]
MANIFESTS = [block for block in TOML if "schema_version" in tomllib.loads(block.body)]
CONFIGURATIONS = [block for block in TOML if block not in MANIFESTS]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_project_leads_somewhere(page):
    broken = []
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(f"{path}: there is no such file")
        elif anchor and anchor not in anchors(target):
            broken.append(f"{path}#{anchor}: there is no such section")

    assert broken == []


def test_every_page_is_in_the_index():
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / path).resolve() for path, _ in links(index)}
    decisions = set((ROOT / "docs" / "adr").glob("*.md"))

    assert set((ROOT / "docs").rglob("*.md")) - decisions - listed == {index}


def test_operations_has_a_section_for_every_alert():
    assert set(ALERTS) <= anchors(ROOT / "docs" / "operations.md")


def test_rules_link_to_sections_that_are_there():
    texts = [path.read_text(encoding="utf-8") for path in ROOT.glob("config/monitoring/*.yml")]
    linked = {
        (ROOT / page, anchor)
        for text in texts
        for page, anchor in re.findall(r"\b(docs/[\w-]+\.md)#([\w-]+)", text)
    }

    assert [(page.name, anchor) for page, anchor in linked if anchor not in anchors(page)] == []


def merge(base, over):
    """Lay a fragment over a whole configuration: other kinds of a section replace it."""
    for key, value in over.items():
        under = base.get(key)
        same = isinstance(under, dict) and isinstance(value, dict)
        if same and under.get("kind") == value.get("kind", under.get("kind")):
            merge(under, value)
        else:
            base[key] = value
    return base


def is_whole(values):
    """Whether a node could run with it."""
    pipelines, destinations = values.get("pipelines", {}), values.get("destinations", {})
    return bool(pipelines and destinations) and all(
        "ae_title" in each for each in pipelines.values()
    )


def to_toml(values, path=()):
    """Write values as TOML: sections as tables, all else inline."""
    plain = {key: each for key, each in values.items() if not isinstance(each, dict)}
    if path and plain:
        yield f"[{'.'.join(path)}]"
    yield from (f"{key} = {inline(each)}" for key, each in plain.items())
    for key, each in values.items():
        if isinstance(each, dict):
            yield from to_toml(each, (*path, key))


def inline(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else f'"{value}"'


@pytest.mark.parametrize("block", MANIFESTS, ids=str)
def test_a_manifest_that_is_shown_is_valid(block, tmp_path):
    path = tmp_path / "manifest.toml"
    path.write_text(block.body, encoding="utf-8")

    assert load_manifest(path).digest


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_a_configuration_that_is_shown_is_valid(block, tmp_path, monkeypatch):
    """A whole one as it stands; a part of one laid over the reference."""
    for variable in ("DICOMNODE_CONFIG", "DICOMNODE_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    values = tomllib.loads(block.body)
    path = tmp_path / "dicomnode.toml"
    if is_whole(values):
        path.write_text(block.body, encoding="utf-8")
    else:
        base = tomllib.loads(REFERENCE.read_text(encoding="utf-8"))
        path.write_text("\n".join(to_toml(merge(base, values))), encoding="utf-8")

    config = load(path)
    assert config.inference.model_repositories or build_setups(config)


def test_configurations_are_shown():
    assert {block.page.name for block in CONFIGURATIONS} >= {
        "README.md",
        "quick-start.md",
        "integration.md",
        "security.md",
        "privacy.md",
    }
