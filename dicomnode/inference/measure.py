"""What is measured in a label map: volume and radiodensity of each segment.  Asks no model.

The 15th percentile and the share below -950 HU are the usual measures of emphysema on CT at full
inspiration (Gevenois et al., Am J Respir Crit Care Med 1996;154:187-192; Stoel and Stolk, Invest
Radiol 2004;39:681-688).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicomnode.inference.schema.answers import ManifestSegment
from dicomnode.inference.schema.manifest import Manifest
from dicomnode.model.findings import Measurement, ModelIdentity, Segment
from dicomnode.standard.codes import VOLUME, unit

# PS3.16 CID 4032 and CID 7464.
ATTENUATION_COEFFICIENT: Final[Code] = codes.DCM.AttenuationCoefficient
MEAN: Final[Code] = codes.SCT.Mean

# No public scheme that pydicom knows has these two (RadLex has, for some).
PERCENTILE_15: Final = Code("attenuation-p15", "99DCMNODE", "15th percentile of attenuation")
LAA_950: Final = Code("laa-950", "99DCMNODE", "Low attenuation area below -950 HU")

_VALUES_HU: Final = np.arange(-32768, 32768)
_COUNT: Final = len(_VALUES_HU)


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
    histograms = _histograms(labels, voxels_hu, len(manifest.segments))
    return tuple(
        _describe(
            each, identity, histogram=histograms[each.number], voxel_volume_ml=voxel_volume_ml
        )
        for each in manifest.segments
    )


def _describe(
    segment: ManifestSegment,
    identity: ModelIdentity,
    *,
    histogram: NDArray[np.int64],
    voxel_volume_ml: float,
) -> Segment:
    volume_ml = int(histogram.sum()) * voxel_volume_ml
    region = segment.anatomic_region
    return Segment(
        number=segment.number,
        label=segment.label,
        category=segment.category.code,
        property_type=segment.type.code,
        laterality=segment.laterality.code if segment.laterality is not None else None,
        color_rgb=segment.color_rgb,
        model=identity,
        anatomic_region=region.code if region is not None else None,
        volume_ml=volume_ml,
        measurements=tuple(_measurements(segment, histogram, volume_ml)),
    )


def _measurements(
    segment: ManifestSegment, histogram: NDArray[np.int64], volume_ml: float
) -> Iterator[Measurement]:
    """Yield what the manifest wants reported; of an empty segment that is its volume alone."""
    if "volume" in segment.report:
        yield Measurement(name=VOLUME, value=volume_ml, unit=unit("mL"))
    count = int(histogram.sum())
    if count == 0:
        return
    if "mean" in segment.report:
        # In Python's integers: exact for any series.
        total = sum(int(n) * int(hu) for hu, n in zip(_VALUES_HU, histogram, strict=True) if n)
        yield _attenuation(total / count, MEAN)
    if "percentile-15" in segment.report:
        rank = np.searchsorted(np.cumsum(histogram), 0.15 * count)
        yield Measurement(name=PERCENTILE_15, value=float(_VALUES_HU[rank]), unit=unit("[hnsf'U]"))
    if "laa-950" in segment.report:
        low = int(histogram[_VALUES_HU < -950].sum())
        yield Measurement(name=LAA_950, value=100.0 * low / count, unit=unit("%"))


def _attenuation(value_hu: float, derivation: Code) -> Measurement:
    return Measurement(
        name=ATTENUATION_COEFFICIENT,
        value=value_hu,
        unit=unit("[hnsf'U]"),
        derivation=derivation,
    )


def _histograms(
    labels: NDArray[np.uint8], voxels_hu: NDArray[np.int16], largest: int
) -> NDArray[np.int64]:
    """Count the voxels of each label by value, shape (labels, 65536), exactly.

    Slice by slice: `bincount` widens what it counts to eight bytes a voxel.
    """
    found = np.zeros((largest + 1, _COUNT), dtype=np.int64)
    for slice_labels, slice_hu in zip(labels, voxels_hu, strict=True):
        inside = np.flatnonzero(slice_labels != 0)  # of booleans: several times as fast
        if not inside.size:
            continue  # the background is not reported
        numbers = slice_labels.ravel()[inside]
        if int(numbers.max()) > largest:
            raise ValueError(f"wanted labels 0 to {largest}, found {int(numbers.max())}")
        place = slice_hu.ravel()[inside].astype(np.int64) - int(_VALUES_HU[0])
        for number in range(1, largest + 1):
            found[number] += np.bincount(place[numbers == number], minlength=_COUNT)
    return found
