"""Asking one model of a pipeline: what it sees of the volume, and its answer on the source grid.

Joins `imaging`, which knows grids, and `inference`, which knows models.  The order, for networks
that want the volume prepared: turn, mask, crop, resample, intensity, resize; back the other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.imaging.grid import ModelGrid, ModelGrids
from dicomnode.imaging.regions import body_box, box_of, tidy
from dicomnode.imaging.resample import (
    Box,
    Placement,
    back_project,
    compose,
    place_size,
    place_spacing,
    resample,
    resize,
)
from dicomnode.inference.classify import classify, classify_tensors
from dicomnode.inference.client import TritonClient
from dicomnode.inference.contract import fixed_size
from dicomnode.inference.intensity import scale
from dicomnode.inference.network import ask_maps, map_channels, network_inputs
from dicomnode.inference.ratios import Segmented, is_structure, structure_mask
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.inference.schema.tensors import LabelValue
from dicomnode.inference.segment import nifti_inputs, segment, segment_nifti
from dicomnode.model.findings import Classification

Cancelled = Callable[[], bool] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prepared:
    """What a network sees, and where that lies.

    Attributes
    ----------
    values : numpy.ndarray, shape (Z, Y, X), dtype float32
    box : tuple of slice
        The part of the oriented volume that was taken.
    placement : Placement
        Of `values` on that part.
    """

    values: NDArray[np.float32]
    box: Box
    placement: Placement


def label_volume(
    client: TritonClient,
    manifest: Manifest,
    grids: ModelGrids,
    found: Sequence[Segmented],
    *,
    cancelled: Cancelled = None,
) -> NDArray[np.uint8]:
    """Have a model segment a volume.

    Parameters
    ----------
    client : TritonClient
    manifest : Manifest
        Of task ``segment``.
    grids : ModelGrids
        Of the volume.
    found : sequence of Segmented
        What earlier models of the pipeline found.
    cancelled : callable, optional
        True ends the call.

    Returns
    -------
    numpy.ndarray, shape (slices, rows, columns), dtype uint8
        On the source grid, numbers of the manifest; empty where the structure that the model is to
        look at is not there.

    Raises
    ------
    InferenceError
    """
    oriented = grids.to(manifest.input.orientation)
    if manifest.input.nifti is not None:
        labels = segment_nifti(
            client,
            manifest,
            voxels_hu=oriented.voxels_hu,
            affine_ijk_to_lps=oriented.geometry.affine_ijk_to_lps,
            cancelled=cancelled,
        )
    elif manifest.is_direct:
        labels = segment(
            client,
            manifest,
            voxels_hu=oriented.voxels_hu,
            spacing_kji_mm=oriented.spacing_kji_mm,
            labels=_sent_labels(manifest, oriented, found),
            cancelled=cancelled,
        )
    else:
        labels = _label_prepared(client, manifest, oriented, found, cancelled)
    steps = manifest.post_processing
    if steps.largest_components is not None or steps.fill_holes or steps.minimum_ml > 0:
        labels = tidy(
            labels,
            largest_components=steps.largest_components,
            fill_holes=steps.fill_holes,
            minimum_voxels=steps.minimum_ml / oriented.geometry.voxel_volume_ml,
        )
    restored = oriented.restore(np.ascontiguousarray(labels))
    restored.flags.writeable = False  # the models after this one may be sent it as it is
    return restored


def classify_volume(
    client: TritonClient,
    manifest: Manifest,
    grids: ModelGrids,
    found: Sequence[Segmented],
    *,
    cancelled: Cancelled = None,
) -> Classification | None:
    """Have a model classify a volume.

    Returns
    -------
    Classification or None
        None where the structure that the model is to look at is not there.

    Raises
    ------
    InferenceError
    """
    oriented = grids.to(manifest.input.orientation)
    if manifest.is_direct:
        return classify(
            client,
            manifest,
            voxels_hu=oriented.voxels_hu,
            labels=_sent_labels(manifest, oriented, found),
            spacing_kji_mm=oriented.spacing_kji_mm,
            cancelled=cancelled,
        )
    manifest = client.resolved(manifest)
    inputs: dict[str, NDArray[Any]]
    if manifest.input.nifti is not None:
        inputs = nifti_inputs(
            manifest,
            voxels_hu=oriented.voxels_hu,
            affine_ijk_to_lps=oriented.geometry.affine_ijk_to_lps,
        )
    else:
        prepared = prepare(manifest, oriented, found)
        if prepared is None:
            return None
        inputs = network_inputs(manifest, prepared.values[None])
    return classify_tensors(client, manifest, inputs, cancelled=cancelled)


def prepare(manifest: Manifest, oriented: ModelGrid, found: Sequence[Segmented]) -> Prepared | None:
    """Make what a network sees of a turned volume.

    Returns
    -------
    Prepared or None
        None where there is nothing to crop to.
    """
    made = manifest.input
    box = _crop(manifest, oriented, found)
    if box is None:
        return None
    part = oriented.voxels_hu[box]
    if made.mask is not None:
        inside = structure_mask(found, made.mask.structures)
        if inside is None:
            return None
        part = np.where(_turned(oriented, inside)[box], part, np.int16(made.mask.fill_hu))
    if made.resample is not None:
        x, y, z = made.resample.spacing_mm
        placement = place_spacing(part.shape, oriented.spacing_kji_mm, (z, y, x))
        values = resample(part, placement, interpolation=made.resample.interpolation)
    else:
        placement = place_spacing(part.shape, (1, 1, 1), (1, 1, 1))
        values = part.astype(np.float32)
    values = scale(values, made.intensity)
    size = fixed_size(manifest)
    if made.resize is not None and size is not None:
        placement = compose(place_size(values.shape, size, made.resize.method), placement)
        values = resize(values, size, made.resize.method)
    return Prepared(values=values, box=box, placement=placement)


def _label_prepared(
    client: TritonClient,
    manifest: Manifest,
    oriented: ModelGrid,
    found: Sequence[Segmented],
    cancelled: Cancelled,
) -> NDArray[np.uint8]:
    labels = np.zeros(oriented.voxels_hu.shape, np.uint8)
    prepared = prepare(manifest, oriented, found)
    if prepared is None:
        return labels
    maps = ask_maps(client, manifest, prepared.values, cancelled=cancelled)
    numbers = np.array(map_channels(manifest), np.uint8)
    threshold = None
    given = manifest.output.probabilities
    if given is not None and 0 not in given.channels:
        threshold = given.threshold
        numbers = np.concatenate((np.zeros(1, np.uint8), numbers))
    part = labels[prepared.box]
    chosen = back_project(
        maps,
        prepared.placement,
        (part.shape[0], part.shape[1], part.shape[2]),
        threshold=threshold,
    )
    part[...] = numbers[chosen]
    return labels


def _crop(manifest: Manifest, oriented: ModelGrid, found: Sequence[Segmented]) -> Box | None:
    crop = manifest.input.crop
    if crop is None:
        k, j, i = (slice(0, n) for n in oriented.voxels_hu.shape)
        return k, j, i
    if crop.to == "body":
        return body_box(oriented.voxels_hu, crop.above_hu, crop.margin_voxels)
    mask = structure_mask(found, crop.structures)
    return None if mask is None else box_of(_turned(oriented, mask), crop.margin_voxels)


def _turned(oriented: ModelGrid, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return oriented.apply(mask.view(np.uint8)).view(np.bool_)


def _sent_labels(
    manifest: Manifest, oriented: ModelGrid, found: Sequence[Segmented]
) -> NDArray[np.uint8] | None:
    """Return what earlier models found in the numbers that this one wants."""
    sent = manifest.input.labels
    if sent is None or not found:
        return None
    if not sent.values:
        return oriented.apply(found[0].labels)
    tables = [(each, _numbers(each, sent.values)) for each in found]
    tables = [(each, table) for each, table in tables if table.any()]
    if len(tables) == 1 and _changes_nothing(*tables[0]):
        return oriented.apply(tables[0][0].labels)
    labels = np.zeros(found[0].labels.shape, np.uint8)
    for each, table in tables:
        here = table[each.labels]
        np.copyto(labels, here, where=here > 0)
    return oriented.apply(labels)


def _numbers(found: Segmented, values: Sequence[LabelValue]) -> NDArray[np.uint8]:
    """Return which number each label of a model is sent as, 0 where it is not."""
    table = np.zeros(256, np.uint8)
    for wanted in values:
        for segment_found in found.segments:
            if is_structure(segment_found, wanted):
                table[segment_found.number] = wanted.value
    return table


def _changes_nothing(found: Segmented, table: NDArray[np.uint8]) -> bool:
    """Whether the labels can be sent as they are, without a copy."""
    return all(table[each.number] == each.number for each in found.segments)
