"""Asking a classification model about a whole volume, and deciding from its scores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.client import TritonClient
from dicomnode.inference.contract import wanted_outputs
from dicomnode.inference.intensity import activate
from dicomnode.inference.network import DTYPES
from dicomnode.inference.schema.answers import ManifestClassification
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.segment import volume_inputs
from dicomnode.inference.tensors import OutputSpec
from dicomnode.model.findings import Classification, Measurement
from dicomnode.standard.codes import unit

_ROUNDING: Final = 1e-3
"""How far from 0 to 1 a probability may lie: half precision rounds so."""


def classify(
    client: TritonClient,
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    labels: NDArray[np.uint8] | None,
    spacing_kji_mm: tuple[float, float, float],
    cancelled: Callable[[], bool] | None = None,
) -> Classification:
    """Have a model answer the manifest's question.

    Parameters
    ----------
    client : TritonClient
    manifest : Manifest
        Of task ``classify``, direct (`Manifest.is_direct`).
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units, in the orientation that the manifest names.
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8, or None
        The segmentation on the same grid; needed where the manifest has an input for it.
    cancelled : callable, optional
        True ends the call.
    spacing_kji_mm : tuple of float
        Distances between slices, rows and columns, millimeters.

    Returns
    -------
    Classification

    Raises
    ------
    InferenceError
        As `classify_tensors`.
    """
    if manifest.classification is None:
        raise ValueError(f"wanted a manifest of task classify, found {manifest.task}")
    manifest = client.resolved(manifest)
    inputs = volume_inputs(
        manifest, voxels_hu=voxels_hu, spacing_kji_mm=spacing_kji_mm, labels=labels
    )
    return classify_tensors(client, manifest, inputs, cancelled=cancelled)


def classify_tensors(
    client: TritonClient,
    manifest: Manifest,
    inputs: Mapping[str, NDArray[Any]],
    *,
    cancelled: Callable[[], bool] | None = None,
) -> Classification:
    """Have a model answer the manifest's question from tensors that are ready.

    Parameters
    ----------
    client : TritonClient
    manifest : Manifest
        Of task ``classify``, its tensors named (`TritonClient.resolved`).
    inputs : mapping of str to numpy.ndarray
        By tensor name.
    cancelled : callable, optional
        True ends the call.

    Raises
    ------
    InferenceError
        `ModelContractMismatch` also where a score or a measurement is not a finite number, a
        probability is none, or the class that the model names is none of the manifest's.
    """
    classification = manifest.classification
    if classification is None:
        raise ValueError(f"wanted a manifest of task classify, found {manifest.task}")
    outputs: dict[str, OutputSpec] = {
        tensor.name: (np.object_, None)
        if tensor.dtype == "BYTES"
        else (DTYPES[tensor.dtype], tensor.shape)
        for tensor in wanted_outputs(manifest)
    }
    asked_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    server = client.server_identity()
    answers = client.infer(manifest, inputs, outputs, cancelled=cancelled)
    scores = _scores(manifest, classification, answers)
    if manifest.output.answer is None:
        chosen = decide(classification, scores)
    else:
        chosen = _named_class(manifest, answers[manifest.output.answer.tensor])
    answer = classification.classes[chosen]
    return Classification(
        question=classification.question.code,
        answer=answer.code.code,
        scores=_named(classification, scores) if scores else (),
        score_kind=classification.score_kind,
        rule=classification.rule,
        measurements=_measurements(manifest, answers),
        model=manifest.identity(server, asked_at=asked_at),
        threshold=answer.from_score,
    )


def _scores(
    manifest: Manifest,
    classification: ManifestClassification,
    answers: Mapping[str, NDArray[Any]],
) -> list[float]:
    given = manifest.output.scores
    if given is None:
        return []
    raw = answers[given.tensor].ravel()
    _check_finite(manifest, given.tensor, raw)
    scores = [float(each) for each in activate(raw, given.activation, axis=0)]
    if classification.score_kind == "probability" and not all(
        -_ROUNDING <= each <= 1 + _ROUNDING for each in scores
    ):
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted probabilities in {given.tensor}, "
            f"found {scores} (is an activation missing in the manifest?)"
        )
    total = sum(scores)
    if (classification.score_kind, classification.decision) == ("probability", "argmax") and not (
        abs(total - 1) <= _ROUNDING * max(10, len(scores))
    ):
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted probabilities that add up to 1 in "
            f"{given.tensor}, found {total:.3g} (is an activation missing in the manifest?)"
        )
    return scores


def _named_class(manifest: Manifest, answer: NDArray[Any]) -> int:
    classification = manifest.classification
    words = [] if classification is None else [each.answer for each in classification.classes]
    told = answer.ravel()[0] if answer.size else b""
    word = told.decode("utf-8", "replace").strip("\x00 \r\n") if isinstance(told, bytes) else told
    if word not in words:
        # The text itself is the model's own and may hold anything: it is not repeated.
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted one of {words}, found another answer"
        )
    return words.index(word)


def decide(classification: ManifestClassification, scores: list[float]) -> int:
    """Return the index of the class that follows from the scores.

    Parameters
    ----------
    classification : ManifestClassification
    scores : list of float
        One a class for decision ``argmax`` (the first of equals wins); one alone for ``grades``:
        the last class whose `from_score` is not above it.

    Raises
    ------
    ModelContractMismatch
        If a graded score is below the lowest grade.
    """
    if classification.decision == "argmax":
        return int(np.argmax(scores))
    (score,) = scores
    reached = [
        index
        for index, each in enumerate(classification.classes)
        if each.from_score is not None and each.from_score <= score
    ]
    if not reached:
        lowest = classification.classes[0].from_score
        raise ModelContractMismatch(f"wanted a score of at least {lowest}, found {score}")
    return reached[-1]


def _named(
    classification: ManifestClassification, scores: list[float]
) -> tuple[tuple[str, float], ...]:
    if classification.decision == "grades":
        return ((classification.question.meaning, scores[0]),)
    names = (each.code.meaning for each in classification.classes)
    return tuple(zip(names, scores, strict=True))


def _measurements(
    manifest: Manifest, answers: Mapping[str, NDArray[Any]]
) -> tuple[Measurement, ...]:
    if manifest.output.measurements is None:
        return ()
    named = manifest.output.measurements.tensor
    values = answers[named].ravel()
    _check_finite(manifest, named, values)
    return tuple(
        Measurement(name=each.name.code, value=float(value), unit=unit(each.unit))
        for each, value in zip(manifest.measurements, values, strict=True)
    )


def _check_finite(manifest: Manifest, name: str, numbers: NDArray[Any]) -> None:
    if not np.isfinite(numbers).all():
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted finite numbers in {name}, "
            f"found {numbers.tolist()}"
        )
