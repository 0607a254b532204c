"""What a manifest wants of the server's model, and how the two are compared.  No server here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from dicomnode.inference.manifest import Manifest

ANY = -1
"""A dimension of any length, as Triton writes it."""

_VOLUME_SHAPE = (ANY, ANY, ANY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A tensor as manifest or server describes it.

    Attributes
    ----------
    name : str
    dtype : str
        As Triton writes it: ``INT16``, ``FP32`` and so on.
    shape : tuple of int
        -1 for a dimension of any length.
    optional : bool
        Whether the model answers without it; for inputs of a server's model.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    optional: bool = False

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


def wanted_inputs(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return the tensors that the node will send."""
    tensors = [_volume(manifest.input.volume.tensor, manifest.input.volume.dtype)]
    if manifest.input.spacing is not None:
        spacing = manifest.input.spacing
        tensors.append(Tensor(name=spacing.tensor, dtype=spacing.dtype, shape=(3,)))
    if manifest.input.labels is not None:
        tensors.append(_volume(manifest.input.labels.tensor, manifest.input.labels.dtype))
    return tuple(tensors)


def wanted_outputs(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return the tensors that the node will ask for."""
    tensors: list[Tensor] = []
    if manifest.output.labels is not None:
        tensors.append(_volume(manifest.output.labels.tensor, manifest.output.labels.dtype))
    if manifest.output.scores is not None:
        scores = manifest.output.scores
        tensors.append(
            Tensor(name=scores.tensor, dtype=scores.dtype, shape=(score_count(manifest),))
        )
    if manifest.output.measurements is not None:
        numbers = manifest.output.measurements
        shape = (len(manifest.measurements),)
        tensors.append(Tensor(name=numbers.tensor, dtype=numbers.dtype, shape=shape))
    return tuple(tensors)


def score_count(manifest: Manifest) -> int:
    """Return how many scores the model gives: one a class, or one that is graded."""
    classification = manifest.classification
    if classification is None:
        return 0
    return 1 if classification.decision == "grades" else len(classification.classes)


def differences(
    manifest: Manifest, *, inputs: Iterable[Tensor], outputs: Iterable[Tensor]
) -> Iterator[str]:
    """Compare the manifest with what the server says of its model.

    Parameters
    ----------
    manifest : Manifest
    inputs, outputs : iterable of Tensor
        The server's.

    Yields
    ------
    str
        One sentence a difference, with wanted and found.
    """
    given = {tensor.name: tensor for tensor in inputs}
    wanted = wanted_inputs(manifest)
    yield from _compare("input", wanted, given)
    for name in sorted(given.keys() - {tensor.name for tensor in wanted}):
        if not given[name].optional:
            yield f"input {name}: the model needs {given[name]}, the manifest does not name it"
    yield from _compare(
        "output", wanted_outputs(manifest), {tensor.name: tensor for tensor in outputs}
    )


def _compare(side: str, wanted: Iterable[Tensor], found: Mapping[str, Tensor]) -> Iterator[str]:
    for tensor in wanted:
        other = found.get(tensor.name)
        if other is None:
            names = ", ".join(sorted(found)) or "none"
            yield f"{side} {tensor.name}: wanted {tensor}, found no such {side} (has {names})"
        elif other.dtype != tensor.dtype or not _fits(tensor.shape, other.shape):
            yield f"{side} {tensor.name}: wanted {tensor}, found {other}"


def _fits(wanted: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Whether every length the node may send or expects is one that the server allows."""
    if len(wanted) != len(found):
        return False
    return all(b in {ANY, a} for a, b in zip(wanted, found, strict=True))


def _volume(name: str, dtype: str) -> Tensor:
    return Tensor(name=name, dtype=dtype, shape=_VOLUME_SHAPE)
