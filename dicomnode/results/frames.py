"""Label map -> the frames of a SEG: which there are, and their pixels, packed or encapsulated.

Only one frame, or eight, is ever held unpacked: memory follows the mask, not the volume.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder

from dicomnode.config import SegConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import Findings
from dicomnode.standard.sop_classes import SEG_TRANSFER_SYNTAXES

_FEW: Final = 16
"""Up to this many labels comparing with each is quicker than a histogram, which widens a voxel to
eight bytes."""


# Named one by one: left to choose, pydicom takes GDCM for RLE, which aborts the process on some.
_ENCODERS: Final = {
    SEG_TRANSFER_SYNTAXES["rle"]: "pylibjpeg",
    SEG_TRANSFER_SYNTAXES["jpeg-ls"]: "pyjpegls",
    SEG_TRANSFER_SYNTAXES["jpeg-2000"]: "pylibjpeg",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a SEG.

    Attributes
    ----------
    slice_index : int
        Of the label map, from zero.
    position : int
        Index value of the dimension Image Position (Patient), from one without gaps
        (PS3.3 C.7.6.17.1).
    label : int
        Number of the segment in the findings; 0 in a frame that holds all segments.
    segment_number : int
        In the SEG; 0 in a frame that holds all segments.
    """

    slice_index: int
    position: int
    label: int
    segment_number: int


def count_voxels(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the voxels of each label in each slice.

    Parameters
    ----------
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8

    Returns
    -------
    numpy.ndarray, shape (slices, 256), dtype int64
        By value, background (0) included.
    """
    counts = np.zeros((len(labels), 256), dtype=np.int64)
    for k, plane in enumerate(labels):
        largest = int(plane.max(initial=0))
        if largest <= _FEW:
            for label in range(1, largest + 1):
                counts[k, label] = np.count_nonzero(plane == label)
            counts[k, 0] = plane.size - counts[k].sum()
        else:
            counts[k] = np.bincount(plane.ravel(), minlength=256)
    return counts


def count_segments(findings: Findings) -> NDArray[np.int64]:
    """Count the voxels of each segment in each slice; where several overlap, for each of them.

    Returns
    -------
    numpy.ndarray, shape (slices, 256), dtype int64
        By number of the segment, not by value of the label map; 0 is background.
    """
    counts = count_voxels(findings.label_map.labels)
    for value, numbers in findings.label_map.overlaps.items():
        counts[:, list(numbers)] += counts[:, [value]]
        counts[:, value] = 0
    return counts


def has_overlaps(findings: Findings) -> bool:
    """Whether a voxel belongs to more than one segment."""
    stands_for_several = np.zeros(256, np.bool_)
    stands_for_several[list(findings.label_map.overlaps)] = True
    return bool(findings.label_map.overlaps) and any(
        stands_for_several[plane].any() for plane in findings.label_map.labels
    )


def number_segments(findings: Findings, counts: NDArray[np.int64], *, keep: bool) -> dict[int, int]:
    """Map labels to Segment Numbers, which run from 1 without gaps (PS3.3 C.8.20.2).

    Parameters
    ----------
    findings : Findings
    counts : numpy.ndarray
        From `count_segments`.
    keep : bool
        Whether segments without a voxel are kept beside those with one.

    Returns
    -------
    dict of int to int
        Empty where no segment holds a voxel.

    Raises
    ------
    ResultError
        If the label map holds a value that no segment describes.
    """
    present = {int(label) for label in np.flatnonzero(counts.sum(axis=0)) if label}
    known = [segment.number for segment in findings.segments]
    strange = sorted(present - set(known))
    if strange:
        raise ResultError(f"the label map holds {strange}, described are {sorted(known)}")
    kept = [label for label in known if label in present or (keep and present)]
    return {label: index for index, label in enumerate(kept, start=1)}


def plan_frames(
    counts: NDArray[np.int64], numbers: Mapping[int, int], options: SegConfig
) -> list[Frame]:
    """Say which frames there are: segment by segment, each in slice order.

    A segment that holds no voxel and is kept all the same has an empty frame at every position of
    the others: each segment that is described must have a frame to be looked at.
    """
    has_label = counts[:, list(numbers)] > 0
    slices = range(len(counts))
    if options.omit_empty_frames:
        slices = np.flatnonzero(has_label.any(axis=1)).tolist()
    positions = {k: position for position, k in enumerate(slices, start=1)}
    if options.type == "labelmap":
        return [Frame(k, position, 0, 0) for k, position in positions.items()]
    return [
        Frame(k, position, label, number)
        for column, (label, number) in enumerate(numbers.items())
        for k, position in positions.items()
        if not options.omit_empty_frames or has_label[k, column] or not has_label[:, column].any()
    ]


def pack_bits(
    labels: NDArray[np.uint8],
    frames: list[Frame],
    overlaps: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
) -> bytes:
    """Return BINARY pixel data: a bit a voxel, frames on end, lowest bit first (PS3.5 8.1.1).

    Parameters
    ----------
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
    frames : list of Frame
    overlaps : mapping of int to tuple of int
        As `LabelMap.overlaps`: a voxel of such a value is in the frames of all its segments.
    """
    voxels = labels[0].size
    packed = np.zeros(-(-len(frames) * voxels // 8), dtype=np.uint8)
    # Frames whose bits end within a byte are packed eight at a time: those always fill their bytes.
    together = 1 if voxels % 8 == 0 else 8
    masks = np.empty((together, *labels.shape[1:]), dtype=np.bool_)
    for start in range(0, len(frames), together):
        group = frames[start : start + together]
        for row, frame in enumerate(group):
            plane = labels[frame.slice_index]
            np.equal(plane, frame.label, out=masks[row])
            for value, numbers in overlaps.items():
                if frame.label in numbers:
                    masks[row] |= plane == value
        bits = np.packbits(masks[: len(group)].reshape(-1), bitorder="little")
        at = start * voxels // 8
        packed[at : at + len(bits)] = bits
    even = packed.tobytes()
    return even + b"\x00" * (len(even) % 2)


def label_frames(
    labels: NDArray[np.uint8], frames: Iterable[Frame], numbers: Mapping[int, int]
) -> Iterable[NDArray[np.uint8]]:
    """Yield the frames of a LABELMAP: Segment Numbers as voxel values."""
    table = np.zeros(256, dtype=np.uint8)
    table[list(numbers)] = list(numbers.values())
    is_same = all(old == new for old, new in numbers.items())
    for frame in frames:
        plane = labels[frame.slice_index]
        yield np.ascontiguousarray(plane) if is_same else table[plane]


def join_frames(planes: Iterable[NDArray[np.uint8]]) -> bytes:
    """Return the native pixel data of 8-bit frames."""
    joined = b"".join(plane.tobytes() for plane in planes)
    return joined + b"\x00" * (len(joined) % 2)


def encapsulate_frames(planes: Iterable[NDArray[np.uint8]], transfer_syntax_uid: str) -> bytes:
    """Compress 8-bit frames without loss, one fragment each, with an offset table (PS3.5 A.4).

    Raises
    ------
    ResultError
        If the encoder refuses a frame; JPEG 2000 wants at least 32 rows and columns.
    """
    encoder = get_encoder(transfer_syntax_uid)
    plugin = _ENCODERS[transfer_syntax_uid]
    try:
        return encapsulate(
            [
                encoder.encode(
                    plane,
                    encoding_plugin=plugin,
                    rows=plane.shape[0],
                    columns=plane.shape[1],
                    samples_per_pixel=1,
                    number_of_frames=1,
                    bits_allocated=8,
                    bits_stored=8,
                    pixel_representation=0,
                    photometric_interpretation="MONOCHROME2",
                )
                for plane in planes
            ]
        )
    except RuntimeError as error:
        raise ResultError(
            f"the frames of the segmentation cannot be written in {transfer_syntax_uid}"
        ) from error
