"""What a manifest wants of the server's model, and how the two are compared.  No server here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.layout import tensor_shape
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.schema.tensors import (
    BytesTensor,
    LabelsTensor,
    NumbersTensor,
    ProbabilitiesTensor,
    ScoresTensor,
    VolumeTensor,
)

ANY = -1
"""A dimension of any length, as Triton writes it."""


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


def check(manifest: Manifest, *, metadata: Any, config: Any) -> Manifest:
    """Hold a manifest against what the server says of its model.

    Parameters
    ----------
    manifest : Manifest
    metadata : ModelMetadataResponse
    config : ModelConfig
        Both as tritonclient gives them.

    Returns
    -------
    Manifest
        With a name for every tensor that it calls the only one.

    Raises
    ------
    ModelContractMismatch
        With every difference: names, dtypes and shapes, wanted and found.
    """
    optional = {each.name for each in config.input if each.optional}
    inputs = [_describe(each, optional=each.name in optional) for each in metadata.inputs]
    outputs = [_describe(each) for each in metadata.outputs]
    resolved = resolve(manifest, inputs=inputs, outputs=outputs)
    faults = list(differences(resolved, inputs=inputs, outputs=outputs))
    windows = manifest.input.windows
    if windows is not None and 0 < config.max_batch_size < windows.per_call:
        faults.append(
            f"wanted {windows.per_call} windows a call, found max_batch_size "
            f"{config.max_batch_size}"
        )
    if faults:
        raise ModelContractMismatch(
            f"manifest {manifest.name!r} and model {manifest.triton.model!r} differ: "
            f"{'; '.join(faults)}"
        )
    return resolved


def _describe(found: Any, *, optional: bool = False) -> Tensor:
    return Tensor(
        name=found.name,
        dtype=found.datatype,
        shape=tuple(int(length) for length in found.shape),
        optional=optional,
    )


def resolve(manifest: Manifest, *, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> Manifest:
    """Give tensors that the manifest calls "the only one" the names that the server has for them.

    Where the server has several, or none, the names stay empty: `differences` then says so.
    """
    sides: dict[str, Any] = {}
    for side, table, tensors in (
        ("input", manifest.input, [each for each in inputs if not each.optional]),
        ("output", manifest.output, list(outputs)),
    ):
        for key in _TENSORS:
            tensor = getattr(table, key, None)
            if tensor is not None and not tensor.tensor and len(tensors) == 1:
                named = tensor.model_copy(update={"tensor": tensors[0].name})
                sides[side] = table.model_copy(update={key: named})
    return manifest.model_copy(update=sides) if sides else manifest


def is_resolved(manifest: Manifest) -> bool:
    """Whether every tensor has a name."""
    return all(tensor.name for tensor in (*wanted_inputs(manifest), *wanted_outputs(manifest)))


def wanted_inputs(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return the tensors that the node will send."""
    made = manifest.input
    tensors: list[Tensor] = []
    if made.volume is not None:
        tensors.append(_grid(manifest, made.volume, channels=1))
    if made.nifti is not None:
        tensors.append(_bytes(made.nifti))
    if made.spacing is not None:
        tensors.append(_numbers(made.spacing, 3))
    if made.labels is not None:
        tensors.append(_grid(manifest, made.labels, channels=1))
    return tuple(tensors)


def wanted_outputs(manifest: Manifest) -> tuple[Tensor, ...]:
    """Return the tensors that the node will ask for."""
    given = manifest.output
    tensors: list[Tensor] = []
    if given.labels is not None:
        tensors.append(_grid(manifest, given.labels, channels=1))
    if given.probabilities is not None:
        channels = len(given.probabilities.channels)
        tensors.append(_grid(manifest, given.probabilities, channels=channels))
    if given.nifti is not None:
        tensors.append(_bytes(given.nifti))
    if given.scores is not None:
        tensors.append(_numbers(given.scores, score_count(manifest)))
    if given.answer is not None:
        tensors.append(_bytes(given.answer))
    if given.measurements is not None:
        tensors.append(_numbers(given.measurements, len(manifest.measurements)))
    return tuple(tensors)


def score_count(manifest: Manifest) -> int:
    """Return how many scores the model gives: one a class, or one that is graded."""
    classification = manifest.classification
    if classification is None:
        return 0
    return 1 if classification.decision == "grades" else len(classification.classes)


def fixed_size(manifest: Manifest) -> tuple[int, int, int] | None:
    """Return the one shape that the network takes, Z, Y, X; None where it takes any."""
    shaped = manifest.input.resize or manifest.input.windows
    if shaped is None:
        return None
    x, y, z = shaped.size
    return z, y, x


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
            what = f"no such {side}" if tensor.name else f"not the only {side}"
            yield f"{side} {tensor.name}: wanted {tensor}, found {what} (has {names})"
        elif other.dtype != tensor.dtype or not _fits(tensor.shape, other.shape):
            yield f"{side} {tensor.name}: wanted {tensor}, found {other}"


def _fits(wanted: tuple[int, ...], found: tuple[int, ...]) -> bool:
    """Whether every length the node may send or expects is one that the server allows."""
    if len(wanted) != len(found):
        return False
    return all(b in {ANY, a} for a, b in zip(wanted, found, strict=True))


def _grid(
    manifest: Manifest,
    tensor: VolumeTensor | LabelsTensor | ProbabilitiesTensor,
    *,
    channels: int,
) -> Tensor:
    windows = manifest.input.windows
    shape = tensor_shape(
        tensor.layout,
        batch=1 if windows is None or windows.per_call == 1 else ANY,
        channels=channels,
        size_zyx=fixed_size(manifest) or (ANY, ANY, ANY),
    )
    return Tensor(name=tensor.tensor, dtype=tensor.dtype, shape=shape)


def _numbers(tensor: NumbersTensor | ScoresTensor, count: int) -> Tensor:
    shape = (1, count) if tensor.batch else (count,)
    return Tensor(name=tensor.tensor, dtype=tensor.dtype, shape=shape)


def _bytes(tensor: BytesTensor) -> Tensor:
    return Tensor(name=tensor.tensor, dtype="BYTES", shape=(1, 1) if tensor.batch else (1,))


_TENSORS: Final = (
    *("volume", "nifti", "spacing", "labels", "probabilities", "scores", "answer"),
    "measurements",
)
