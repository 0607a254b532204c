"""Pipelines, their models and their destinations as they are now, for pages and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dicomnode.config import SENDER, Destination, DicomwebDestination, DimseDestination
from dicomnode.console.parts import Parts
from dicomnode.database.check_rows import CheckRow, LastDelivery, last_deliveries, list_checks
from dicomnode.inference.schema.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """A model of a pipeline.

    `is_ready` is None where nobody here can ask; `words` then says so, and else why it is not.
    """

    name: str
    task: str
    version: str
    triton_model: str
    triton_version: str
    manifest_digest: str
    license: str
    intended_use: str
    is_ready: bool | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineFacts:
    """A pipeline."""

    name: str
    ae_title: str
    version: str
    models: list[ModelFacts]
    destinations: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFacts:
    """A destination; `where` holds no secret."""

    name: str
    kind: str
    where: str
    objects: list[str]
    pipelines: list[str]
    last_check: CheckRow | None
    last_delivery: LastDelivery | None


def list_pipelines(parts: Parts) -> list[PipelineFacts]:
    """Return all pipelines, in the order of the configuration."""
    states = parts.models()
    return [
        PipelineFacts(
            name=each.name,
            ae_title=each.config.ae_title,
            version=each.version,
            models=[_model(manifest, states) for manifest in each.manifests],
            destinations=list(each.config.destinations),
        )
        for each in parts.setups.values()
    ]


def list_destinations(parts: Parts) -> list[DestinationFacts]:
    """Return all destinations, in the order of the configuration."""
    with parts.database.begin() as transaction:
        checks, deliveries = list_checks(transaction), last_deliveries(transaction)
    return [
        DestinationFacts(
            name=name,
            kind=each.kind,
            where=where(each),
            objects=list(each.objects),
            pipelines=_users(parts, name),
            last_check=checks.get(name),
            last_delivery=deliveries.get(name),
        )
        for name, each in parts.config.destinations.items()
    ]


def where(destination: Destination) -> str:
    """Say where a destination is."""
    if isinstance(destination, DimseDestination):
        tls = ", TLS" if destination.tls is not None else ""
        return f"{destination.ae_title}@{destination.host}:{destination.port}{tls}"
    if isinstance(destination, DicomwebDestination):
        return destination.url
    return str(destination.path)


def returns_to_sender(parts: Parts) -> bool:
    """Whether a pipeline sends results to whoever sent the series."""
    return any(SENDER in each.config.destinations for each in parts.setups.values())


def _users(parts: Parts, name: str) -> list[str]:
    return [each.name for each in parts.setups.values() if name in each.config.destinations]


def _model(manifest: Manifest, states: Mapping[str, str | None]) -> ModelFacts:
    is_asked = manifest.name in states
    reason = states.get(manifest.name)
    return ModelFacts(
        name=manifest.name,
        task=manifest.task,
        version=manifest.algorithm.version,
        triton_model=manifest.triton.model,
        triton_version=manifest.triton.version,
        manifest_digest=manifest.digest,
        license=manifest.algorithm.license,
        intended_use=manifest.algorithm.intended_use,
        is_ready=reason is None if is_asked else None,
        words=(reason or "ready") if is_asked else "asked by workers alone",
    )
