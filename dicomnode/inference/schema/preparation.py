"""What is to be done to the volume before a network sees it, in this order.  No voxel is here."""

from __future__ import annotations

from itertools import permutations, product
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from dicomnode.inference.schema.vocabulary import Finite, StructureTable, Table

Length = Annotated[int, Field(ge=1, le=4096)]
Millimeters = Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)]

ORIENTATIONS: Final = frozenset(
    "".join(letters) for axes in permutations(("LR", "PA", "SI")) for letters in product(*axes)
)
"""The 48 ways to lay three axes along left-right, front-back and foot-head."""


def _check_orientation(text: str) -> str:
    if text not in ORIENTATIONS:
        raise ValueError("wants one letter each of L/R, P/A and S/I")
    return text


def _check_span(span: tuple[float, float]) -> tuple[float, float]:
    if not span[0] < span[1]:
        raise ValueError("wants the lower number first")
    return span


Orientation = Annotated[str, AfterValidator(_check_orientation)]
Span = Annotated[tuple[Finite, Finite], AfterValidator(_check_span)]


class Mask(Table):
    """Everything outside of structures is overwritten before resampling."""

    structures: tuple[StructureTable, ...] = Field(min_length=1)
    fill_hu: Finite


class Crop(Table):
    """The part of the volume that the network sees."""

    to: Literal["body", "segment"] = Field(
        description="body: what is denser than above_hu; segment: the box of structures."
    )
    structures: tuple[StructureTable, ...] = Field((), description="For `segment`.")
    above_hu: Finite = Field(-500.0, description="For `body`.")
    margin_voxels: int = Field(
        0, ge=0, le=512, description="On the source grid, to each side; ends at the volume's edge."
    )


class Resample(Table):
    """The voxels' size on the network's grid; the first voxel's center stays where it was."""

    spacing_mm: tuple[Millimeters, Millimeters, Millimeters] = Field(description="X, Y, Z.")
    interpolation: Literal["linear", "nearest", "cubic"] = "linear"


class Intensity(Table):
    """From Hounsfield units to what the network reads; after resampling, before resizing."""

    clip_hu: Span | None = Field(None, description="Saturates below and above.")
    from_hu: Span | None = Field(None, description="Mapped linearly onto `to`; by default clip_hu.")
    to: Span = (0.0, 1.0)


class Resize(Table):
    """The network takes one fixed shape, to which the volume is resized."""

    size: tuple[Length, Length, Length] = Field(description="X, Y, Z.")
    method: Literal["area", "linear"] = Field(
        description="area: adaptive average pooling; linear: corners of the grid stay corners."
    )


class Windows(Table):
    """The network takes windows, which slide over the volume."""

    size: tuple[Length, Length, Length] = Field(description="X, Y, Z.")
    overlap: float = Field(0.25, ge=0, lt=1, description="Share of a window.")
    blending: Literal["constant", "gaussian"] = Field(
        "gaussian", description="Weight of a window's voxels where windows overlap."
    )
    per_call: int = Field(1, ge=1, le=64, description="Windows in one call; needs N above 1.")
    pad: Finite = Field(
        0.0, description="Value around a volume that is smaller than a window, after intensity."
    )
