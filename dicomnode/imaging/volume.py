"""The way from instance files to a `Volume`.

Puts together what `slices`, `geometry` and `pixels` do; decides nothing about which series.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dicomnode.imaging.geometry import order_slices
from dicomnode.imaging.pixels import read_hu
from dicomnode.imaging.slices import Slice, read_slices
from dicomnode.model.volume import SourceFrame, Volume

MAX_DECODERS: Final = 8
"""Threads that decode compressed slices: more only wait for memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadSeries:
    """A volume and the files its slices came from.

    Attributes
    ----------
    volume : Volume
    paths : tuple of pathlib.Path
        One per slice, in slice order; a multi-frame file stands there once a frame.
    """

    volume: Volume
    paths: tuple[Path, ...]


def read_volume(paths: Sequence[Path]) -> Volume:
    """Read the instance files of one CT series into a volume.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        All instances of the series, in any order.

    Returns
    -------
    Volume
        Hounsfield units, rounded and clipped to int16; padded pixels are -1024 HU.

    Raises
    ------
    SeriesError
        One of its leaves, as `read_series`.
    """
    return read_series(paths).volume


def read_series(paths: Sequence[Path]) -> ReadSeries:
    """Read the instance files of one CT series, and say which file each slice came from.

    Raises
    ------
    NoImages, MixedGeometry, DuplicatePositions, MissingSlices, IrregularSpacing, TooFewSlices
        If the slices do not make a volume.
    UnsupportedImage
        If an instance is no image of a volume, or of a kind that is not read.
    PixelsUnreadable
        If Pixel Data is absent, short or cannot be decoded.
    """
    slices = [each for path in paths for each in read_slices(path)]
    ordered = order_slices(slices)
    voxels_hu = np.empty(ordered.geometry.shape_kji, dtype=np.int16)
    _fill(ordered.slices, voxels_hu)
    volume = Volume(
        voxels_hu=voxels_hu,
        geometry=ordered.geometry,
        sources=tuple(
            SourceFrame(
                sop_class_uid=each.sop_class_uid,
                sop_instance_uid=each.sop_instance_uid,
                frame_number=each.frame_number,
            )
            for each in ordered.slices
        ),
        frame_of_reference_uid=ordered.frame_of_reference_uid,
        notes=(*ordered.notes, *_notes(ordered.slices)),
    )
    return ReadSeries(volume=volume, paths=tuple(each.path for each in ordered.slices))


def _fill(
    slices: Sequence[Slice], voxels_hu: np.ndarray[tuple[int, ...], np.dtype[np.int16]]
) -> None:
    """Read all pixels: those that are just bytes in this thread, the others decoded by several."""
    compressed = []
    for index, each in enumerate(slices):
        if each.pixels_offset is None:
            compressed.append(index)
        else:
            read_hu(each, voxels_hu[index])
    if not compressed:
        return
    workers = min(MAX_DECODERS, os.cpu_count() or 1, len(compressed))
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        jobs = [pool.submit(read_hu, slices[index], voxels_hu[index]) for index in compressed]
        try:
            for job in jobs:
                job.result()
        finally:
            # The first slice that fails makes the rest useless.
            pool.shutdown(wait=True, cancel_futures=True)


def _notes(slices: Sequence[Slice]) -> tuple[str, ...]:
    lossy = sum(each.is_lossy for each in slices)
    unspecified = sum(each.has_unspecified_rescale for each in slices)
    notes = (
        (lossy, f"{lossy} of {len(slices)} slices were compressed with loss."),
        (
            unspecified,
            (
                f"{unspecified} of {len(slices)} slices do not say the unit of their values; "
                "Hounsfield units were assumed."
            ),
        ),
    )
    return tuple(text for count, text in notes if count)
