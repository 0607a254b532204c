"""The tensors that a model takes and gives: name, type, layout, and what their numbers are.

How they are held against the server's is `inference.contract`'s.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from dicomnode.inference.schema.vocabulary import SegmentNumber, StructureTable, Table

Layout = Annotated[
    str,
    StringConstraints(pattern=r"^N?(C?(XYZ|ZYX|DHW)|(XYZ|ZYX|DHW)C)$"),
]
TensorName = Annotated[str, Field(max_length=255)]

TENSOR: Final = "Its name; empty for the only one that the model has."
LAYOUT: Final = (
    "The axes in order: N batch, C channels, X Y Z the first, second and third letter of the "
    "orientation; D H W are Z Y X."
)
BATCH: Final = "Whether the server's shape begins with a batch axis."


class VolumeTensor(Table):
    """The volume: Hounsfield units, or what `intensity` makes of them."""

    tensor: TensorName = Field("", description=TENSOR)
    dtype: Literal["INT16", "FP32", "FP16", "UINT8"] = Field(
        description="INT16 and UINT8 are rounded and saturate."
    )
    layout: Layout = Field("ZYX", description=LAYOUT)


class LabelsTensor(Table):
    """A label map on the volume's grid: 0 background, else segment numbers."""

    tensor: TensorName = Field("", description=TENSOR)
    dtype: Literal["UINT8"]
    layout: Layout = Field("ZYX", description=LAYOUT)


class LabelValue(StructureTable):
    """What a value of the label map that is sent stands for."""

    value: SegmentNumber


class SentLabelsTensor(LabelsTensor):
    """A label map of what earlier models of the pipeline found, sent with the volume."""

    values: tuple[LabelValue, ...] = Field(
        (), description="Empty: the first segmentation's own numbers."
    )


class NumbersTensor(Table):
    """A short list of numbers."""

    tensor: TensorName = Field("", description=TENSOR)
    dtype: Literal["FP32"]
    batch: bool = Field(False, description=BATCH)


class ScoresTensor(Table):
    """The scores of a classification: one a class, or one alone for decision `grades`."""

    tensor: TensorName = Field("", description=TENSOR)
    dtype: Literal["FP32", "FP16"]
    batch: bool = Field(False, description=BATCH)
    activation: Literal["none", "softmax", "sigmoid"] = Field(
        "none", description="What makes scores of what the model gives."
    )


class ProbabilitiesTensor(Table):
    """A map for each class: probabilities, or what `activation` makes probabilities of."""

    tensor: TensorName = Field("", description=TENSOR)
    dtype: Literal["FP32", "FP16", "UINT8"] = Field(
        description="UINT8 carries 0 to 255 for 0 to 1; then activation is none."
    )
    layout: Layout = Field("NCZYX", description=f"{LAYOUT} Without C there is one channel.")
    activation: Literal["none", "softmax", "sigmoid"]
    channels: tuple[Annotated[int, Field(ge=0, le=255)], ...] = Field(
        min_length=1, description="Segment number of each channel, 0 for background."
    )
    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Without a background channel: a voxel below it belongs to no segment.",
    )


class BytesTensor(Table):
    """One string of bytes."""

    tensor: TensorName = Field("", description=TENSOR)
    batch: bool = Field(False, description=BATCH)


class NiftiTensor(BytesTensor):
    """A whole volume as the bytes of a NIfTI-1 file."""

    gzip: bool = Field(True, description="Whether the bytes sent are compressed (.nii.gz).")
