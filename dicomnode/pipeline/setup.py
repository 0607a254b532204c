"""What a configured pipeline is made of: its models, its destinations, its version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dicomnode.config import SENDER, Config, Destination, DimseDestination, PipelineConfig
from dicomnode.errors import ConfigError
from dicomnode.imaging.policy import GatePolicy
from dicomnode.inference.manifest import CONTRACTS, SHIPPED_MODELS, find_manifests
from dicomnode.inference.schema.answers import ManifestSegment
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.series.selection import RULE_KEYWORDS

SENDER_DESTINATION = DimseDestination(
    kind="dimse", ae_title="SENDER", host="sender", port=104, calling_ae_title=None
)
"""What whoever sent a series is sent; where that is differs from series to series."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSetup:
    """A pipeline with its models.

    Attributes
    ----------
    name : str
        As configured.
    config : PipelineConfig
    segment, classify : tuple of Manifest
        In the order they are asked.
    destinations : tuple of Destination
        What results are written for.
    version : str
        Changes whenever a model's manifest does, or a rule for series and slices: the same series
        then is worth another analysis.
    """

    name: str
    config: PipelineConfig
    segment: tuple[Manifest, ...]
    classify: tuple[Manifest, ...]
    destinations: tuple[Destination, ...]
    version: str

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All models, in the order they are asked."""
        return (*self.segment, *self.classify)

    @property
    def gate(self) -> GatePolicy:
        """What may pass the geometry gate."""
        return GatePolicy(**self.config.geometry.model_dump())

    @property
    def keywords(self) -> tuple[str, ...]:
        """Attributes that selection asks for."""
        return tuple(sorted({*RULE_KEYWORDS, *self.config.selection.keywords}))

    @property
    def triton_models(self) -> tuple[str, ...]:
        """Names of the Triton models that must be ready."""
        return tuple(manifest.triton.model for manifest in self.manifests)


def build_setups(config: Config) -> dict[str, PipelineSetup]:
    """Find each pipeline's models.

    Returns
    -------
    dict of str to PipelineSetup
        By pipeline name.

    Raises
    ------
    ConfigError
        With every model that is missing, or is named for a task it does not do.
    ManifestInvalid
        If a manifest in one of the model repositories cannot be used.
    """
    found = find_manifests((SHIPPED_MODELS, CONTRACTS, *config.inference.model_repositories))
    limits = config.inference.max_in_flight
    manifests = {name: _with_limit(each, limits) for name, each in found.items()}
    faults = _limit_faults(limits, manifests)
    for name, pipeline in config.pipelines.items():
        for key, task, wanted in (
            ("segment", "segment", pipeline.segment),
            ("classify", "classify", pipeline.classify),
        ):
            for index, model in enumerate(wanted):
                path = f"pipelines.{name}.{key}.{index}"
                if model not in manifests:
                    known = ", ".join(sorted(manifests)) or "none"
                    faults.append(f"{path}: no model is called {model!r}; known are {known}")
                elif manifests[model].task != task:
                    faults.append(
                        f"{path}: wanted a model that can {task}, {model!r} is there to "
                        f"{manifests[model].task}"
                    )
        faults.extend(_order_faults(name, pipeline, manifests))
    if faults:
        raise ConfigError(tuple(faults))
    return {
        name: _build(name, pipeline, manifests, config.destinations)
        for name, pipeline in config.pipelines.items()
    }


def _with_limit(manifest: Manifest, limits: Mapping[str, int]) -> Manifest:
    """Return a manifest with the limit that the site has set for its model."""
    limit = limits.get(manifest.triton.model, manifest.triton.max_in_flight)
    triton = manifest.triton.model_copy(update={"max_in_flight": limit})
    return manifest.model_copy(update={"triton": triton})


def _limit_faults(limits: Mapping[str, int], manifests: Mapping[str, Manifest]) -> list[str]:
    known = sorted({each.triton.model for each in manifests.values()})
    return [
        f"inference.max_in_flight.{model}: no manifest is of a Triton model {model!r}; "
        f"known are {', '.join(known)}"
        for model in limits
        if model not in known
    ]


def _build(
    name: str,
    pipeline: PipelineConfig,
    manifests: Mapping[str, Manifest],
    destinations: Mapping[str, Destination],
) -> PipelineSetup:
    segment = tuple(manifests[each] for each in pipeline.segment)
    classify = tuple(manifests[each] for each in pipeline.classify)
    rules = (pipeline.selection.model_dump_json(), pipeline.geometry.model_dump_json())
    digests = ":".join((*(each.digest for each in (*segment, *classify)), *rules))
    return PipelineSetup(
        name=name,
        config=pipeline,
        segment=segment,
        classify=classify,
        destinations=tuple(
            SENDER_DESTINATION if each == SENDER else destinations[each]
            for each in pipeline.destinations
        ),
        version=f"{name}-{hashlib.sha256(digests.encode()).hexdigest()[:8]}",
    )


def _order_faults(
    name: str, pipeline: PipelineConfig, manifests: Mapping[str, Manifest]
) -> Iterator[str]:
    """Name what a model needs of those before it and does not get."""
    known: list[ManifestSegment] = []
    for key, models in (("segment", pipeline.segment), ("classify", pipeline.classify)):
        for index, model in enumerate(models):
            manifest = manifests.get(model)
            if manifest is None:
                continue
            for structure in manifest.needed_structures:
                side = structure.laterality
                if not any(
                    each.type == structure.type and (side is None or each.laterality == side)
                    for each in known
                ):
                    words = structure.type.meaning + (f", {side.meaning}" if side else "")
                    yield (
                        f"pipelines.{name}.{key}.{index}: {model!r} needs a segment ({words}) "
                        "of a model before it, found none"
                    )
            known.extend(manifest.segments)
