"""Asking a network about a prepared volume: the whole of it, or window by window, several at once.

What is done to the volume before, and to the maps after, is composed by the pipeline.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import InferenceCancelled, ModelContractMismatch
from dicomnode.inference.client import TritonClient
from dicomnode.inference.contract import fixed_size, wanted_inputs, wanted_outputs
from dicomnode.inference.intensity import activate, to_dtype
from dicomnode.inference.layout import from_layout, tensor_shape, to_layout
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.schema.tensors import LabelsTensor, ProbabilitiesTensor
from dicomnode.inference.tensors import OutputSpec
from dicomnode.inference.windows import (
    Blend,
    Start,
    batches,
    pad_to_window,
    window_starts,
    window_weights,
)

Cancelled = Callable[[], bool] | None

DTYPES: dict[str, Any] = {
    "INT16": np.int16,
    "UINT8": np.uint8,
    "FP16": np.float16,
    "FP32": np.float32,
}
"""Triton's names for the types of tensors that manifests can name."""


def map_channels(manifest: Manifest) -> tuple[int, ...]:
    """Return the segment number of each channel of the maps, 0 for background."""
    maps = manifest.output.probabilities
    if maps is not None:
        return maps.channels
    return tuple(range(len(manifest.segments) + 1))


def ask_maps(
    client: TritonClient,
    manifest: Manifest,
    volume: NDArray[np.float32],
    *,
    cancelled: Cancelled = None,
) -> NDArray[np.float32]:
    """Have a network map its classes over a prepared volume.

    Parameters
    ----------
    client : TritonClient
    manifest : Manifest
        Of task ``segment``.
    volume : numpy.ndarray, shape (Z, Y, X), dtype float32
        In orientation, spacing, intensity and, for models with `resize`, size of the manifest.
    cancelled : callable, optional
        True ends all calls.

    Returns
    -------
    numpy.ndarray, shape (channels, Z, Y, X), dtype float32
        Probabilities; of a model that gives labels 1 at the label's channel.

    Raises
    ------
    InferenceError
        `ModelContractMismatch` also where a probability is not a finite number, or a label is
        none of the manifest's.
    """
    manifest = client.resolved(manifest)
    windows = manifest.input.windows
    if windows is None:
        maps: NDArray[np.float32] = _ask(client, manifest, volume[None], cancelled)[0]
        return maps
    window = fixed_size(manifest)
    if window is None:
        raise ValueError("wanted a manifest with windows")
    padded, inner = pad_to_window(volume, window, windows.pad)
    size = (padded.shape[0], padded.shape[1], padded.shape[2])
    starts = window_starts(size, window, windows.overlap)
    channels = len(map_channels(manifest))
    blend = Blend.of(channels, size, window_weights(window, windows.blending))
    adding = threading.Lock()
    failed = threading.Event()

    def is_over() -> bool:
        return failed.is_set() or (cancelled is not None and cancelled())

    def ask_group(group: tuple[Start, ...]) -> None:
        if failed.is_set():
            return
        try:
            batch = np.stack([padded[_box(start, window)] for start in group])
            answers = _ask(client, manifest, batch, is_over)
        except BaseException:
            failed.set()  # the others end too, here and in the server
            raise
        with adding:
            for start, answer in zip(group, answers, strict=True):
                blend.add(start, answer)

    # One more than may be in flight: its windows are cut while the others are on their way.
    with ThreadPoolExecutor(manifest.triton.max_in_flight + 1, "windows") as pool:
        asked = [pool.submit(ask_group, each) for each in batches(starts, windows.per_call)]
        errors = [each.exception() for each in asked]
    _raise_first(errors)
    return blend.mean()[(slice(None), *inner)]


def network_inputs(manifest: Manifest, batch: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return the tensors for a batch of prepared volumes, shape (batch, Z, Y, X)."""
    volume = manifest.input.volume
    if volume is None:
        raise ValueError("wanted a manifest whose model takes a volume")
    named = wanted_inputs(manifest)[0].name
    return {named: to_layout(to_dtype(batch, volume.dtype)[:, None], volume.layout)}


def _ask(
    client: TritonClient, manifest: Manifest, batch: NDArray[np.float32], cancelled: Cancelled
) -> NDArray[np.float32]:
    """Ask once, for volumes of one shape; return (batch, channels, Z, Y, X)."""
    given = manifest.output.probabilities or manifest.output.labels
    if given is None:
        raise ValueError("wanted a manifest whose model gives probabilities or labels")
    (wanted,) = wanted_outputs(manifest)
    maps = manifest.output.probabilities
    shape = tensor_shape(
        given.layout,
        batch=len(batch),
        channels=1 if maps is None else len(maps.channels),
        size_zyx=(batch.shape[1], batch.shape[2], batch.shape[3]),
    )
    outputs: dict[str, OutputSpec] = {wanted.name: (DTYPES[given.dtype], shape)}
    answer = client.infer(manifest, network_inputs(manifest, batch), outputs, cancelled=cancelled)
    return _as_maps(manifest, given, from_layout(answer[wanted.name], given.layout))


def _as_maps(
    manifest: Manifest, given: ProbabilitiesTensor | LabelsTensor, values: NDArray[Any]
) -> NDArray[np.float32]:
    if isinstance(given, LabelsTensor):
        check_numbers(manifest, values)
        numbers = np.arange(len(manifest.segments) + 1, dtype=np.uint8)
        one_hot: NDArray[np.bool_] = values == numbers.reshape(1, -1, 1, 1, 1)
        return one_hot.astype(np.float32)
    if given.dtype == "UINT8":
        return values.astype(np.float32) / np.float32(255)
    maps = activate(values, given.activation, axis=1)
    # One sum instead of a look at each: it is finite only if all are, or infinities would cancel,
    # which gives no number either.
    if not np.isfinite(maps.sum(dtype=np.float64)):
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted finite probabilities, found others"
        )
    return maps


def check_numbers(manifest: Manifest, labels: NDArray[np.uint8]) -> None:
    """Refuse labels that the manifest lacks.

    Raises
    ------
    ModelContractMismatch
    """
    # Segment numbers run from 1 without gaps, so the largest tells.
    largest = int(labels.max(initial=0))
    if largest > len(manifest.segments):
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted labels 0 to {len(manifest.segments)}, "
            f"found {largest}"
        )


def _box(start: Start, window: tuple[int, int, int]) -> tuple[slice, ...]:
    return tuple(slice(first, first + n) for first, n in zip(start, window, strict=True))


def _raise_first(errors: list[BaseException | None]) -> None:
    """Raise what went wrong first; what was cancelled because of it says nothing new."""
    told = [error for error in errors if error is not None]
    causes = [error for error in told if not isinstance(error, InferenceCancelled)]
    if told:
        raise (causes or told)[0]
