"""config/dicomnode.toml: a valid configuration that shows every key with its default."""

import re
import tomllib
from pathlib import Path
from types import UnionType
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from dicomnode import config as schema
from dicomnode.config import load
from dicomnode.model.selection import SelectionRules

REFERENCE = Path(__file__).parents[2] / "config" / "dicomnode.toml"

OTHER_DESTINATIONS = {
    "destinations.share": schema.FolderDestination,
    "destinations.web": schema.DicomwebDestination,
}
"""What they have in common with the first is shown there."""

COMMENTED_OUT = {
    *OTHER_DESTINATIONS,
    "destinations.pacs.tls",
    "destinations.web.oauth",
    "health",
    "storage",
    "receive.tls",
    "console.tls",
    "console.access.proxy",
    "console.audit",
    "inference.tls",
    "pipelines.chest-ct.completion.expected_count",
    "pipelines.chest-ct.retention",
}
"""Sections that are shown, but not set: their defaults are none."""

SECTIONS = {
    "": schema.Config,
    "receive": schema.ReceiveConfig,
    "receive.tls": schema.TlsServerConfig,
    "receive.commitment": schema.CommitmentConfig,
    "console": schema.ConsoleConfig,
    "console.tls": schema.ConsoleTlsConfig,
    "console.access": schema.AccessConfig,
    "console.access.proxy": schema.ProxyConfig,
    "console.audit": schema.AuditConfig,
    "health": schema.HealthConfig,
    "storage": schema.StorageConfig,
    "database": schema.DatabaseConfig,
    "inference": schema.InferenceConfig,
    "inference.tls": schema.InferenceTlsConfig,
    "retention": schema.RetentionConfig,
    "pipelines.chest-ct": schema.PipelineConfig,
    "pipelines.chest-ct.completion": schema.CompletionConfig,
    "pipelines.chest-ct.completion.expected_count": schema.ArchiveQuery,
    "pipelines.chest-ct.selection": SelectionRules,
    "pipelines.chest-ct.geometry": schema.GeometryConfig,
    "pipelines.chest-ct.report": schema.ReportConfig,
    "pipelines.chest-ct.retention": schema.RetentionConfig,
    "destinations.pacs": schema.DimseDestination,
    "destinations.pacs.tls": schema.TlsClientConfig,
    "destinations.pacs.seg": schema.SegConfig,
    "destinations.pacs.sc": schema.ScConfig,
    "destinations.web.oauth": schema.OAuthConfig,
    **OTHER_DESTINATIONS,
    "log": schema.LogConfig,
    "telemetry": schema.TelemetryConfig,
}


def _choices(annotation):
    """The kinds that a union admits; a container's elements are no choice."""
    return get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)


def own_keys(model):
    """Keys of a section that are values, not sections of their own."""
    return {
        name: field
        for name, field in model.model_fields.items()
        if (
            not any(
                isinstance(each, type) and issubclass(each, BaseModel)
                for each in _choices(field.annotation)
            )
            and name not in {"pipelines", "destinations"}
        )
        or (model is schema.PipelineConfig and name == "destinations")
    }


def shown_keys():
    """Section -> keys assigned in it, also in lines that are commented out."""
    shown = {"": set()}
    section = ""
    for line in REFERENCE.read_text(encoding="utf-8").splitlines():
        if header := re.match(r"(?:# )?\[([a-z._-]+)\]", line):
            section = header[1]
            shown.setdefault(section, set())
        elif key := re.match(r"(?:# )?([a-z_]+) = ", line):
            shown[section].add(key[1])
    return shown


@pytest.fixture
def reference(monkeypatch):
    for variable in ("DICOMNODE_CONFIG", "DICOMNODE_DATA_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return load(REFERENCE)


def test_the_reference_is_a_valid_configuration(reference):
    pipeline, pacs = reference.pipelines["chest-ct"], reference.destinations["pacs"]

    assert (
        pipeline.ae_title,
        pipeline.segment,
        pipeline.classify,
    ) == ("DICOMNODE", ("lung", "opacities"), ("opacity",))
    assert (
        pacs.kind,
        pacs.ae_title,
        pacs.host,
        pacs.port,
    ) == ("dimse", "ORTHANC", "127.0.0.1", 4242)


def test_every_section_is_shown_and_no_other():
    assert SECTIONS.keys() == shown_keys().keys()
    kinds = get_args(get_args(schema.Destination)[0])
    assert set(kinds) <= set(SECTIONS.values()), "a kind of destination is not shown"


@pytest.mark.parametrize("section", sorted(SECTIONS.keys() - OTHER_DESTINATIONS.keys()))
def test_every_key_is_shown_and_no_other(section):
    assert own_keys(SECTIONS[section]).keys() == shown_keys()[section]


@pytest.mark.parametrize("section", sorted(OTHER_DESTINATIONS))
def test_other_destinations_show_what_they_have_of_their_own(section):
    own = own_keys(SECTIONS[section]).keys() - schema.DimseDestination.model_fields.keys()

    assert own | {"kind"} == shown_keys()[section]


@pytest.mark.parametrize("section", sorted(SECTIONS.keys() - COMMENTED_OUT))
def test_what_is_shown_is_the_default(section):
    values = tomllib.loads(REFERENCE.read_text(encoding="utf-8"))
    for name in filter(None, section.split(".")):
        values = values[name]
    model = SECTIONS[section]
    with_default = {
        name: field.default
        for name, field in own_keys(model).items()
        if field.default is not PydanticUndefined and field.default is not None
    }

    shown = {
        name: tuple(values[name]) if isinstance(values[name], list) else values[name]
        for name in with_default
    }

    assert {name: str(value) for name, value in with_default.items()} == {
        name: str(value) for name, value in shown.items()
    }


def test_the_other_destinations_that_are_shown_are_valid_too(tmp_path):
    text = REFERENCE.read_text(encoding="utf-8")
    uncommented = text[text.index("# [destinations.web]") :]
    shown = re.sub(r"^# (\[|[a-z_]+ = )", r"\1", uncommented, flags=re.MULTILINE)
    path = tmp_path / "dicomnode.toml"
    path.write_text(text.replace(uncommented, shown), encoding="utf-8")

    destinations = load(path).destinations

    assert {name: each.kind for name, each in destinations.items()} == {
        "pacs": "dimse",
        "share": "folder",
        "web": "dicomweb",
    }
    assert destinations["web"].oauth.client_id == "dicomnode"
