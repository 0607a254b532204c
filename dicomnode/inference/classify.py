"""Asking a classification model about a whole volume, and deciding from its scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.client import OutputSpec, TritonClient
from dicomnode.inference.contract import wanted_outputs
from dicomnode.inference.manifest import Manifest, ManifestClassification
from dicomnode.inference.segment import volume_inputs
from dicomnode.model.findings import Classification, Measurement
from dicomnode.standard.codes import unit


def classify(
    client: TritonClient,
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    labels: NDArray[np.uint8] | None,
    spacing_kji_mm: tuple[float, float, float],
) -> Classification:
    """Have a model answer the manifest's question.

    Parameters
    ----------
    client : TritonClient
    manifest : Manifest
        Of task ``classify``.
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units, in the orientation that the manifest names.
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8, or None
        The segmentation on the same grid; needed where the manifest has an input for it.
    spacing_kji_mm : tuple of float
        Distances between slices, rows and columns, millimeters.

    Returns
    -------
    Classification

    Raises
    ------
    InferenceError
        `ModelContractMismatch` also where a score or a measurement is not a finite number.
    """
    classification = manifest.classification
    if classification is None:
        raise ValueError(f"wanted a manifest of task classify, found {manifest.task}")
    inputs = volume_inputs(manifest, voxels_hu=voxels_hu, spacing_kji_mm=spacing_kji_mm)
    if manifest.input.labels is not None:
        if labels is None or labels.dtype != np.uint8 or labels.shape != voxels_hu.shape:
            found = "none" if labels is None else f"{labels.dtype} of {labels.shape}"
            raise ValueError(f"wanted uint8 labels of shape {voxels_hu.shape}, found {found}")
        inputs[manifest.input.labels.tensor] = np.ascontiguousarray(labels)
    outputs: dict[str, OutputSpec] = {
        tensor.name: (np.float32, tensor.shape) for tensor in wanted_outputs(manifest)
    }
    server = client.server_identity()
    answers = client.infer(manifest, inputs, outputs)
    for name, numbers in answers.items():
        _check_finite(manifest, name, numbers)
    # The manifest is consistent: a classifying model has scores.
    scores = [float(each) for each in answers[next(iter(outputs))]]
    answer = classification.classes[decide(classification, scores)]
    return Classification(
        question=classification.question.code,
        answer=answer.code.code,
        scores=_named(classification, scores),
        score_kind=classification.score_kind,
        rule=classification.rule,
        measurements=_measurements(manifest, answers),
        model=manifest.identity(server),
        threshold=answer.from_score,
    )


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
    manifest: Manifest, answers: dict[str, NDArray[np.float32]]
) -> tuple[Measurement, ...]:
    if manifest.output.measurements is None:
        return ()
    values = answers[manifest.output.measurements.tensor]
    return tuple(
        Measurement(name=each.name.code, value=float(value), unit=unit(each.unit))
        for each, value in zip(manifest.measurements, values, strict=True)
    )


def _check_finite(manifest: Manifest, name: str, numbers: NDArray[np.float32]) -> None:
    if not np.isfinite(numbers).all():
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted finite numbers in {name}, "
            f"found {numbers.tolist()}"
        )
