"""SEGs as a PACS gets them, and the label maps that come back out of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicomnode.results.seg import encode_segmentation
from tests.support.ct import OBLIQUE
from tests.support.findings import Made

FEET_FIRST = (-1, 0, 0, 0, 1, 0)
"""Row x column cosines point to the feet: slice order runs downward."""
SAGITTAL = (0, 1, 0, 0, 0, -1)
ORIENTATIONS = [
    pytest.param((1, 0, 0, 0, 1, 0), id="axial"),
    pytest.param(FEET_FIRST, id="feet first"),
    pytest.param((1, 0, 0, 0, -1, 0), id="prone"),
    pytest.param(SAGITTAL, id="sagittal"),
    pytest.param((1, 0, 0, 0, 0, -1), id="coronal"),
    pytest.param(OBLIQUE, id="oblique"),
]


def encode(made: Made, **changes: Any) -> Dataset:
    """Encode, write and read back, as a PACS gets it."""
    segmentation = encode_segmentation(
        changes.pop("findings", made.findings),
        volume_sources=changes.pop("sources", made.sources),
        evidence=changes.pop("evidence", made.evidence),
        context=changes.pop("context", made.context),
        **changes,
    )
    assert segmentation is not None
    return pydicom.dcmread(io.BytesIO(to_bytes(segmentation)))


def to_bytes(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def frames_by_source(segmentation: Dataset) -> dict[tuple[str, int | None, int], np.ndarray]:
    """(SOP Instance UID, frame, Segment Number) of the source -> the frame's pixels."""
    pixels = np.atleast_3d(segmentation.pixel_array)
    found = {}
    for index, group in enumerate(segmentation.PerFrameFunctionalGroupsSequence):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        frame = source.get("ReferencedFrameNumber")
        found[source.ReferencedSOPInstanceUID, frame, number] = pixels[index]
    return found


def labels_from(segmentation: Dataset, sources, numbers: dict[int, int], shape) -> np.ndarray:
    """Put the label map together again by the references to the sources alone."""
    back = np.zeros(shape, np.uint8)
    frames = frames_by_source(segmentation)
    for k, source in enumerate(sources):
        for label, number in numbers.items():
            frame = frames.get((source.sop_instance_uid, source.frame_number, number))
            if frame is not None:
                back[k][frame > 0] = label
    return back
