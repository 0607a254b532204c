"""The functional groups of Enhanced and Legacy Converted Enhanced CT, frame by frame.

Turns a multi-frame instance into what single-frame images have: one list of items a frame in which
position, orientation, spacing, rescale and frame type stand (PS3.3 C.7.6.16).  Checks no values.
"""

from __future__ import annotations

from typing import Final

from pydicom import Dataset

from dicomnode.errors import UnsupportedImage
from dicomnode.imaging.attributes import Attributes

MAX_FRAMES: Final = 65536
"""More frames than any CT has: a number beyond it is a fault or an attack."""

_MACROS: Final = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
    "CTImageFrameTypeSequence",
    "FrameContentSequence",
    "CTReconstructionSequence",
    "CTXRayDetailsSequence",
)


def frame_items(whole: Attributes) -> list[list[Dataset]]:
    """Return, frame by frame, the items that describe the frame, its own before the shared ones.

    Raises
    ------
    UnsupportedImage
        If the functional groups are absent or fewer than the frames.
    """
    count = whole.integer("NumberOfFrames", lowest=1, highest=MAX_FRAMES)
    shared = whole.values("SharedFunctionalGroupsSequence")
    per_frame = whole.values("PerFrameFunctionalGroupsSequence")
    if len(per_frame) != count:
        raise UnsupportedImage(
            f"{whole.label}: wanted {count} Per-Frame Functional Groups, found {len(per_frame)}"
        )
    common = [item for group in shared for item in _macro_items(group, whole.label)]
    return [_macro_items(group, whole.label) + common for group in per_frame]


def _macro_items(group: object, label: str) -> list[Dataset]:
    """Return the first item of each macro of a functional group that holds one."""
    if not isinstance(group, Dataset):
        raise UnsupportedImage(f"{label}: wanted functional groups, found something else")
    attributes = Attributes(items=(group,), label=label)
    firsts = (attributes.values(keyword)[:1] for keyword in _MACROS)
    return [item for first in firsts for item in first if isinstance(item, Dataset)]
