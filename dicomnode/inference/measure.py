"""What is measured in a label map: volume and mean radiodensity of each segment.  Asks no model."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomnode.inference.manifest import Manifest, ManifestSegment
from dicomnode.model.findings import Measurement, ModelIdentity, Segment
from dicomnode.standard.codes import VOLUME, unit

# PS3.16 CID 4032 and CID 7464.
ATTENUATION_COEFFICIENT: Final[Code] = codes.DCM.AttenuationCoefficient
MEAN: Final[Code] = codes.SCT.Mean


def describe_segments(
    manifest: Manifest,
    identity: ModelIdentity,
    *,
    labels: NDArray[np.uint8],
    voxels_hu: NDArray[np.int16],
    voxel_volume_ml: float,
) -> tuple[Segment, ...]:
    """Measure every segment of the manifest, also those that were not found.

    Parameters
    ----------
    manifest : Manifest
        Of task ``segment``.
    identity : ModelIdentity
        Of the model that made the label map.
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        On the source grid; 0 is background.
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units, same grid.
    voxel_volume_ml : float
        Milliliters.

    Returns
    -------
    tuple of Segment
        In the manifest's order.  An empty segment has a volume of 0 and no mean.
    """
    if labels.shape != voxels_hu.shape:
        raise ValueError(f"wanted labels of shape {voxels_hu.shape}, found {labels.shape}")
    counts, sums_hu = _count_and_sum(labels, voxels_hu, len(manifest.segments))
    return tuple(
        _describe(
            each,
            identity,
            volume_ml=int(counts[each.number]) * voxel_volume_ml,
            mean_hu=(
                float(sums_hu[each.number] / counts[each.number]) if counts[each.number] else None
            ),
        )
        for each in manifest.segments
    )


def _describe(
    segment: ManifestSegment, identity: ModelIdentity, *, volume_ml: float, mean_hu: float | None
) -> Segment:
    measurements = [Measurement(name=VOLUME, value=volume_ml, unit=unit("mL"))]
    if mean_hu is not None:
        measurements.append(
            Measurement(
                name=ATTENUATION_COEFFICIENT,
                value=mean_hu,
                unit=unit("[hnsf'U]"),
                derivation=MEAN,
            )
        )
    return Segment(
        number=segment.number,
        label=segment.label,
        category=segment.category.code,
        property_type=segment.type.code,
        laterality=segment.laterality.code if segment.laterality is not None else None,
        color_rgb=segment.color_rgb,
        model=identity,
        anatomic_region=(
            segment.anatomic_region.code if segment.anatomic_region is not None else None
        ),
        volume_ml=volume_ml,
        measurements=tuple(measurements),
    )


def _count_and_sum(
    labels: NDArray[np.uint8], voxels_hu: NDArray[np.int16], largest: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count voxels and add up their values by label, exactly.

    Slice by slice: `bincount` makes an int64 copy of the labels and a float64 copy of the values,
    which would be sixteen bytes a voxel for a whole volume.  Sums of integers stay exact in
    float64 up to 2**53, far above 2**16 times the voxels of any series.
    """
    counts = np.zeros(largest + 1, dtype=np.int64)
    sums = np.zeros(largest + 1, dtype=np.float64)
    for slice_labels, slice_hu in zip(labels, voxels_hu, strict=True):
        if not slice_labels.any():
            continue  # the background is not reported
        flat = slice_labels.ravel()
        of_slice = np.bincount(flat, minlength=largest + 1)
        if len(of_slice) > largest + 1:
            raise ValueError(f"wanted labels 0 to {largest}, found {len(of_slice) - 1}")
        counts += of_slice
        sums += np.bincount(flat, weights=slice_hu.ravel(), minlength=largest + 1)
    return counts, sums
