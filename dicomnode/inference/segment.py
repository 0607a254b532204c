"""Asking a segmentation model that takes and labels a volume on its own grid, or a NIfTI file.

Networks that want the volume prepared are asked by `network`; what is measured is for `measure`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import ModelContractMismatch
from dicomnode.inference.client import TritonClient
from dicomnode.inference.contract import wanted_inputs, wanted_outputs
from dicomnode.inference.intensity import to_dtype
from dicomnode.inference.layout import from_layout, tensor_shape, to_layout
from dicomnode.inference.network import check_numbers
from dicomnode.inference.nifti import decode_nifti, encode_nifti
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.tensors import OutputSpec

Cancelled = Callable[[], bool] | None


def segment(
    client: TritonClient,
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    spacing_kji_mm: tuple[float, float, float],
    labels: NDArray[np.uint8] | None = None,
    cancelled: Cancelled = None,
) -> NDArray[np.uint8]:
    """Have a model label every voxel.

    Parameters
    ----------
    client : TritonClient
    manifest : Manifest
        Of task ``segment``, direct (`Manifest.is_direct`).
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units, in the orientation that the manifest names.
    spacing_kji_mm : tuple of float
        Distances between slices, rows and columns, millimeters.
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8, optional
        What earlier models found, on the same grid; needed where the manifest has an input for it.
    cancelled : callable, optional
        True ends the call.

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
    manifest = client.resolved(manifest)
    given = manifest.output.labels
    if given is None or not manifest.is_direct:
        raise ValueError(f"wanted a model that takes the volume as it is, found {manifest.name!r}")
    (wanted,) = wanted_outputs(manifest)
    size = (voxels_hu.shape[0], voxels_hu.shape[1], voxels_hu.shape[2])
    shape = tensor_shape(given.layout, batch=1, channels=1, size_zyx=size)
    outputs: dict[str, OutputSpec] = {wanted.name: (np.uint8, shape)}
    inputs = volume_inputs(
        manifest, voxels_hu=voxels_hu, spacing_kji_mm=spacing_kji_mm, labels=labels
    )
    answer = client.infer(manifest, inputs, outputs, cancelled=cancelled)[wanted.name]
    found: NDArray[np.uint8] = from_layout(answer, given.layout)[0, 0]
    check_numbers(manifest, found)
    return found


def segment_nifti(
    client: TritonClient,
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    affine_ijk_to_lps: NDArray[np.float64],
    cancelled: Cancelled = None,
) -> NDArray[np.uint8]:
    """Have a model that takes a NIfTI file label every voxel.

    Parameters
    ----------
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        In the orientation that the manifest names.
    affine_ijk_to_lps : numpy.ndarray, shape (4, 4)
        Of that array.

    Raises
    ------
    InferenceError
        `ModelContractMismatch` also where the answer is no NIfTI file on the same grid.
    """
    manifest = client.resolved(manifest)
    (wanted,) = wanted_outputs(manifest)
    inputs = nifti_inputs(manifest, voxels_hu=voxels_hu, affine_ijk_to_lps=affine_ijk_to_lps)
    outputs: dict[str, OutputSpec] = {wanted.name: (np.object_, None)}
    answer = client.infer(manifest, inputs, outputs, cancelled=cancelled)[wanted.name]
    try:
        values, affine = decode_nifti(answer.ravel()[0])
    except (ValueError, IndexError) as error:
        raise ModelContractMismatch(f"model {manifest.triton.model!r}: {error}") from error
    # A tenth of a voxel over the whole volume: files keep affines as float32.
    far = np.abs((affine - affine_ijk_to_lps) @ np.array([*voxels_hu.shape[::-1], 1.0])).max()
    step = np.linalg.norm(affine_ijk_to_lps[:3, :3], axis=0).min()
    if values.shape != voxels_hu.shape or not far < 0.1 * step:
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted a NIfTI file on the grid that was sent, "
            f"{voxels_hu.shape}, found {values.shape}, {far:.3g} mm off"
        )
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 255:
        raise ModelContractMismatch(
            f"model {manifest.triton.model!r}: wanted labels in its NIfTI file, found other values"
        )
    found = np.rint(values).astype(np.uint8)
    check_numbers(manifest, found)
    return found


def volume_inputs(
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    spacing_kji_mm: tuple[float, float, float],
    labels: NDArray[np.uint8] | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the tensors that a direct model takes, by name; copies only what it must.

    Raises
    ------
    ValueError
        If the volume is not three-dimensional int16, a spacing is not a positive number, or labels
        are wanted and not on the same grid.
    """
    if voxels_hu.dtype != np.int16 or voxels_hu.ndim != 3:
        raise ValueError(
            f"wanted int16 voxels of three axes, found {voxels_hu.dtype} of {voxels_hu.shape}"
        )
    if not all(np.isfinite(each) and each > 0 for each in spacing_kji_mm):
        raise ValueError(f"wanted three positive spacings in mm, found {spacing_kji_mm}")
    volume = manifest.input.volume
    if volume is None:
        raise ValueError("wanted a manifest whose model takes a volume")
    # INT16 is sent as it is; a volume is seldom turned, so nothing at all is copied.
    values = voxels_hu if volume.dtype == "INT16" else to_dtype(voxels_hu, volume.dtype)
    inputs: dict[str, NDArray[Any]] = {volume.tensor: to_layout(values[None, None], volume.layout)}
    if manifest.input.spacing is not None:
        spacing = np.array(spacing_kji_mm, dtype=np.float32)
        inputs[manifest.input.spacing.tensor] = (
            spacing[None] if manifest.input.spacing.batch else spacing
        )
    sent = manifest.input.labels
    if sent is not None:
        if labels is None or labels.dtype != np.uint8 or labels.shape != voxels_hu.shape:
            found = "none" if labels is None else f"{labels.dtype} of {labels.shape}"
            raise ValueError(f"wanted uint8 labels of shape {voxels_hu.shape}, found {found}")
        inputs[sent.tensor] = to_layout(labels[None, None], sent.layout)
    return inputs


def nifti_inputs(
    manifest: Manifest,
    *,
    voxels_hu: NDArray[np.int16],
    affine_ijk_to_lps: NDArray[np.float64],
) -> dict[str, NDArray[Any]]:
    """Return the one tensor that a model of the NIfTI style takes."""
    nifti = manifest.input.nifti
    if nifti is None:
        raise ValueError("wanted a manifest whose model takes a NIfTI file")
    content = encode_nifti(voxels_hu, affine_ijk_to_lps, compress=nifti.gzip)
    tensor = np.array([content], dtype=np.object_)
    return {wanted_inputs(manifest)[0].name: tensor[None] if nifti.batch else tensor}
