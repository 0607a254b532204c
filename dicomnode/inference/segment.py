"""Asking a segmentation model for a label map.  What is measured in it is for `measure`."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.client import OutputSpec, TritonClient
from dicomnode.inference.contract import wanted_outputs
from dicomnode.inference.manifest import Manifest

_VOLUME_DTYPES: Final = {"INT16": np.int16, "FP32": np.float32}


def segment(
    client: TritonClient,
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    spacing_kji_mm: tuple[float, float, float],
) -> NDArray[np.uint8]:
    """Have a model label every voxel.

    Parameters
    ----------
    client : TritonClient
    manifest : Manifest
        Of task ``segment``.
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units, in the orientation that the manifest names.
    spacing_kji_mm : tuple of float
        Distances between slices, rows and columns, millimeters.

    Returns
    -------
    numpy.ndarray, shape (slices, rows, columns), dtype uint8
        0 is background, else a segment number of the manifest.

    Raises
    ------
    InferenceError
        `ModelContractMismatch` also where the model gave a number that the manifest lacks.
    """
    if manifest.task != "segment":
        raise ValueError(f"wanted a manifest of task segment, found {manifest.task}")
    (wanted,) = wanted_outputs(manifest)
    outputs: dict[str, OutputSpec] = {wanted.name: (np.uint8, voxels_hu.shape)}
    inputs = volume_inputs(manifest, voxels_hu=voxels_hu, spacing_kji_mm=spacing_kji_mm)
    labels: NDArray[np.uint8] = client.infer(manifest, inputs, outputs)[wanted.name]
    _check_numbers(manifest, labels)
    return labels


def volume_inputs(
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    spacing_kji_mm: tuple[float, float, float],
) -> dict[str, NDArray[np.generic]]:
    """Return the tensors that every task sends, by name; copies only what it must.

    Raises
    ------
    ValueError
        If the volume is not three-dimensional int16, or a spacing is not a positive number.
    """
    if voxels_hu.dtype != np.int16 or voxels_hu.ndim != 3:
        raise ValueError(
            f"wanted int16 voxels of three axes, found {voxels_hu.dtype} of {voxels_hu.shape}"
        )
    if not all(np.isfinite(each) and each > 0 for each in spacing_kji_mm):
        raise ValueError(f"wanted three positive spacings in mm, found {spacing_kji_mm}")
    volume = manifest.input.volume
    inputs: dict[str, NDArray[np.generic]] = {
        volume.tensor: np.ascontiguousarray(voxels_hu, dtype=_VOLUME_DTYPES[volume.dtype])
    }
    if manifest.input.spacing is not None:
        inputs[manifest.input.spacing.tensor] = np.array(spacing_kji_mm, dtype=np.float32)
    return inputs


def _check_numbers(manifest: Manifest, labels: NDArray[np.uint8]) -> None:
    # Segment numbers run from 1 without gaps, so the largest tells.
    largest = int(labels.max(initial=0))
    if largest > len(manifest.segments):
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted labels 0 to {len(manifest.segments)}, "
            f"found {largest}"
        )
