"""The way from instance files to a `Volume`.

Puts together what `contents`, `geometry` and `pixels` do; decides nothing about which series.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.errors import NoImages, PixelsUnreadable, SeriesError
from dicomnode.imaging.contents import Faulty, SeriesContents, open_series
from dicomnode.imaging.decoding import decode_all
from dicomnode.imaging.geometry import OrderedSlices, order_slices
from dicomnode.imaging.pixels import read_hu
from dicomnode.imaging.policy import STRICT, GatePolicy
from dicomnode.imaging.slices import Slice
from dicomnode.model.volume import SourceFrame, Volume

MakeArray = Callable[[tuple[int, int, int]], NDArray[np.int16]]

MAX_READERS: Final = 8
"""Threads that read plain slices: more only wait for memory."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadSeries:
    """A volume and the files its slices came from.

    Attributes
    ----------
    volume : Volume
    paths : tuple of pathlib.Path
        One per slice, in slice order; a multi-frame file stands there once a frame.
    faulty : tuple of Faulty
        Files that could not be used; they count as missing.
    """

    volume: Volume
    paths: tuple[Path, ...]
    faulty: tuple[Faulty, ...] = ()


class SeriesFault(Exception):
    """A series that makes no volume, with the files that are to blame.

    Attributes
    ----------
    error : SeriesError
    faulty : tuple of Faulty
        Files that could not be used, if any.
    """

    def __init__(self, error: SeriesError, faulty: tuple[Faulty, ...]) -> None:
        super().__init__(str(error))
        self.error = error
        self.faulty = faulty


def read_volume(paths: Sequence[Path], policy: GatePolicy = STRICT) -> Volume:
    """Read the instance files of one CT series into a volume.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        All instances of the series, in any order.
    policy : GatePolicy

    Returns
    -------
    Volume
        Hounsfield units, rounded and clipped to int16; padded pixels are -1024 HU.

    Raises
    ------
    SeriesError
        One of its leaves, as `read_series`.
    """
    return read_series(paths, policy).volume


def read_series(paths: Sequence[Path], policy: GatePolicy = STRICT) -> ReadSeries:
    """Read the instance files of one CT series, and say which file each slice came from.

    Raises
    ------
    NoImages, MixedGeometry, DuplicatePositions, MissingSlices, IrregularSpacing, TooFewSlices
        If the slices do not make a volume.
    UnsupportedImage
        If an instance is an image of a kind that is not read.
    PixelsUnreadable
        If no slice has pixels that can be read.
    """
    try:
        return assemble_series(open_series(paths), policy)
    except SeriesFault as fault:
        raise fault.error from None


def _in_memory(shape_kji: tuple[int, int, int]) -> NDArray[np.int16]:
    return np.empty(shape_kji, dtype=np.int16)


def assemble_series(
    contents: SeriesContents, policy: GatePolicy = STRICT, make_array: MakeArray = _in_memory
) -> ReadSeries:
    """Pass the slices of a series through the gate and read their pixels.

    Parameters
    ----------
    contents : SeriesContents
    policy : GatePolicy
    make_array : callable, optional
        Returns the array that voxels are read into, given its shape; asked again when slices turn
        out unreadable.

    Raises
    ------
    SeriesFault
        With the error of `read_series`, and the files that are to blame.
    """
    faulty = {each.path: each for each in contents.faulty}
    try:
        ordered, voxels_hu = _assemble(contents, policy, faulty, make_array)
    except SeriesError as error:
        raise SeriesFault(error, tuple(faulty.values())) from error
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
        notes=(*ordered.notes, *contents.notes, *_notes(ordered.slices)),
    )
    return ReadSeries(
        volume=volume,
        paths=tuple(each.path for each in ordered.slices),
        faulty=tuple(faulty.values()),
    )


def _assemble(
    contents: SeriesContents,
    policy: GatePolicy,
    faulty: dict[Path, Faulty],
    make_array: MakeArray,
) -> tuple[OrderedSlices, NDArray[np.int16]]:
    """Order and read; slices whose pixels turn out unreadable go through the gate as missing."""
    if contents.unsupported is not None:
        raise contents.unsupported
    slices = list(contents.slices)
    if not slices and contents.unplaced:
        raise PixelsUnreadable(contents.unplaced[0].fault)
    if not slices:
        raise NoImages("wanted the slices of a CT series, found none. " + " ".join(contents.notes))
    while True:
        ordered = order_slices(
            slices,
            policy=policy,
            unplaced=len(contents.unplaced),
            is_same_image=_has_same_pixels,
        )
        voxels_hu = make_array(ordered.geometry.shape_kji)
        faults = _fill(ordered.slices, voxels_hu)
        if not faults:
            return ordered, voxels_hu
        for index, fault in faults.items():
            bad = ordered.slices[index]
            faulty[bad.path] = Faulty(path=bad.path, fault=fault)
            slices[slices.index(bad)] = replace(
                bad, pixels_fault=fault.removeprefix(f"{bad.label}: ")
            )
        del voxels_hu


def _has_same_pixels(one: Slice, other: Slice) -> bool:
    """Whether two slices of one matrix hold the same Hounsfield units, however encoded."""
    arrays = np.empty((2, one.rows, one.columns), np.int16)
    return not _fill((one, other), arrays) and bool(np.array_equal(arrays[0], arrays[1]))


def _fill(slices: Sequence[Slice], voxels_hu: NDArray[np.int16]) -> dict[int, str]:
    """Read all pixels, by several threads; decode what is compressed in processes of their own.

    Returns
    -------
    dict of int to str
        The slices, by index, that could not be read, and why.
    """
    plain = [index for index, each in enumerate(slices) if each.pixels_offset is not None]
    faults: dict[int, str] = {}
    if plain:
        workers = min(MAX_READERS, os.cpu_count() or 1, len(plain))
        with ThreadPoolExecutor(workers, thread_name_prefix="read-pixels") as pool:
            found = pool.map(lambda index: _read(slices[index], voxels_hu[index]), plain)
            faults.update(_faults(plain, found))
    compressed = [index for index, each in enumerate(slices) if each.pixels_offset is None]
    if compressed:
        told = decode_all(
            [slices[index] for index in compressed], [voxels_hu[index] for index in compressed]
        )
        faults.update(_faults(compressed, told))
    return faults


def _faults(indices: Sequence[int], found: Iterable[str | None]) -> dict[int, str]:
    return {index: fault for index, fault in zip(indices, found, strict=True) if fault is not None}


def _read(image: Slice, out_hu: NDArray[np.int16]) -> str | None:
    try:
        read_hu(image, out_hu)
    except PixelsUnreadable as error:
        return str(error)
    return None


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
