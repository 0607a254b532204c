"""The tables of a manifest: every key, its values, its meaning.  No file is read here.

Read by `manifest`; docs/models.md carries a reference generated from it.
"""

from __future__ import annotations

from itertools import permutations, product
from typing import Annotated, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    field_validator,
    model_validator,
)
from pydicom.sr.coding import Code

from dicomnode.config import Name
from dicomnode.inference.faults import cross_faults
from dicomnode.model.findings import ModelIdentity
from dicomnode.standard.codes import check_code, unit

LongString = Annotated[str, StringConstraints(pattern=r"^[^\\\x00-\x1f]{1,64}$")]
"""Value representation LO (PS3.5 6.2): at most 64 characters, no backslash."""

ShortString = Annotated[str, StringConstraints(pattern=r"^[^\\\x00-\x1f]{1,16}$")]
"""Value representation SH (PS3.5 6.2): at most 16 characters, no backslash."""

ColorComponent = Annotated[int, Field(ge=0, le=255)]
SegmentNumber = Annotated[int, Field(ge=1, le=255)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
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


class Table(BaseModel):
    """What all tables have in common: no unknown keys, no change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class CodeTable(Table):
    """A coded concept (PS3.3 8.8), checked against the dictionaries."""

    value: ShortString
    scheme: ShortString = Field(description="SCT, DCM, or a private one, 99...")
    meaning: LongString = Field(description="Another meaning than the dictionary's is a fault.")

    @model_validator(mode="after")
    def _known(self) -> CodeTable:
        check_code(self.scheme, self.value, self.meaning)
        return self

    @property
    def code(self) -> Code:
        """The concept as pydicom and highdicom take it."""
        return Code(self.value, self.scheme, self.meaning)


class TritonModel(Table):
    """Which model of the server answers."""

    model: str = Field(min_length=1, max_length=255, description="Its name in the server.")
    version: str = Field("", pattern=r"^\d*$", description="Empty: the server's choice.")
    max_in_flight: int = Field(
        2,
        ge=1,
        le=64,
        description="Calls to it at the same time, of all jobs and workers together.",
    )


class Algorithm(Table):
    """How results name the algorithm (PS3.16 TID 4019)."""

    name: LongString
    version: LongString
    manufacturer: LongString
    family: CodeTable = Field(description="Algorithm family (PS3.16 CID 7162).")
    license: str = Field(min_length=1)
    intended_use: str = Field(min_length=1)


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


class StructureTable(Table):
    """A structure that an earlier model of the pipeline has segmented."""

    type: CodeTable = Field(description="Segmented property type.")
    laterality: CodeTable | None = Field(None, description="Absent: either side and both.")


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


class Resample(Table):
    """The voxels' size on the network's grid; the first voxel's center stays where it was."""

    spacing_mm: tuple[Millimeters, Millimeters, Millimeters] = Field(description="X, Y, Z.")
    interpolation: Literal["linear", "nearest", "cubic"] = "linear"


class Intensity(Table):
    """From Hounsfield units to what the network reads; after resampling, before resizing."""

    clip_hu: Span | None = Field(None, description="Saturates below and above.")
    from_hu: Span | None = Field(None, description="Mapped linearly onto `to`; by default clip_hu.")
    to: Span = (0.0, 1.0)


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


class Mask(Table):
    """Everything outside of structures is overwritten before resampling."""

    structures: tuple[StructureTable, ...] = Field(min_length=1)
    fill_hu: Finite


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


class ManifestInput(Table):
    """Tensors the model takes, and what is done to the volume before."""

    orientation: Orientation = Field(
        description="What X, Y and Z grow to. LPS: to the patient's left, back and head."
    )
    volume: VolumeTensor | None = None
    nifti: NiftiTensor | None = None
    spacing: NumbersTensor | None = Field(None, description="Millimeters: Z, Y, X.")
    labels: SentLabelsTensor | None = None
    mask: Mask | None = None
    crop: Crop | None = None
    resample: Resample | None = None
    intensity: Intensity | None = None
    resize: Resize | None = None
    windows: Windows | None = None


class ManifestOutput(Table):
    """Tensors the model gives."""

    labels: LabelsTensor | None = None
    probabilities: ProbabilitiesTensor | None = None
    nifti: BytesTensor | None = Field(None, description="A label map as a NIfTI file.")
    scores: ScoresTensor | None = None
    answer: BytesTensor | None = Field(None, description="The name of a class.")
    measurements: NumbersTensor | None = None


class PostProcessing(Table):
    """What is done to each segment on the source grid, in this order."""

    largest_components: int | None = Field(None, ge=1, le=64, description="How many are kept.")
    fill_holes: bool = Field(False, description="Cavities that the segment encloses join it.")
    minimum_ml: float = Field(0.0, ge=0, le=10_000, description="A smaller component is dropped.")


SegmentReport = Literal["volume", "mean", "percentile-15", "laa-950"]


class ManifestSegment(Table):
    """A segment of the label map (PS3.3 C.8.20.2)."""

    number: SegmentNumber
    label: LongString
    category: CodeTable
    type: CodeTable
    laterality: CodeTable | None = None
    anatomic_region: CodeTable | None = Field(
        None, description="Where it lies, for what is no anatomy itself; laterality is then its."
    )
    color_rgb: tuple[ColorComponent, ColorComponent, ColorComponent]
    report: tuple[SegmentReport, ...] = Field(
        ("volume", "mean"),
        description="What is measured: volume; mean and 15th percentile of Hounsfield units; "
        "share of voxels below -950 HU.",
    )


class Ratio(Table):
    """A derived measurement: one segment's volume in percent of another structure's."""

    name: CodeTable
    segment: SegmentNumber = Field(description="Whose volume, of this manifest.")
    to: StructureTable = Field(description="A structure of an earlier model of the pipeline.")
    kind: Literal["volumes", "share"] = Field(
        description="volumes: the two volumes, all such structures together, reported with the "
        "segment; share: the part within each such structure, reported with that."
    )


class ClassificationClass(Table):
    """One possible answer."""

    code: CodeTable
    from_score: Finite | None = Field(None, description="For decision `grades`.")
    answer: str | None = Field(None, description="For decision `named`: the model's word for it.")


class ManifestClassification(Table):
    """What a classifying model is asked and how its scores become an answer."""

    question: CodeTable
    score_kind: Literal["percent", "probability"]
    decision: Literal["grades", "argmax", "named"] = Field(
        description="grades: the last class whose from_score is reached; argmax: the highest "
        "score; named: the model names the class."
    )
    rule: str = Field(min_length=1, description="The same for readers.")
    classes: tuple[ClassificationClass, ...] = Field(min_length=2)


class ManifestMeasurement(Table):
    """What one element of the measurements tensor is."""

    name: CodeTable
    unit: str = Field(description="UCUM.")

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, symbol: str) -> str:
        try:
            unit(symbol)
        except KeyError:
            raise ValueError("is not a UCUM unit that the node writes") from None
        return symbol


class Manifest(Table):
    """A model as pipelines know it.  Made by `load_manifest`, valid in itself.

    Whether the server's model is as the manifest says is for `TritonClient.check_contract`.
    """

    schema_version: Literal[1]
    name: Name = Field(description="As pipelines call it.")
    task: Literal["segment", "classify"]
    triton: TritonModel
    algorithm: Algorithm
    input: ManifestInput
    output: ManifestOutput
    post_processing: PostProcessing = PostProcessing()
    segments: tuple[ManifestSegment, ...] = ()
    ratios: tuple[Ratio, ...] = ()
    classification: ManifestClassification | None = None
    measurements: tuple[ManifestMeasurement, ...] = ()

    _digest: str = PrivateAttr("")

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        faults = list(cross_faults(self.model_dump()))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest file, hexadecimal."""
        return self._digest

    @property
    def is_direct(self) -> bool:
        """Whether the model takes the oriented volume as it is, and answers on the same grid."""
        made = self.input
        shaped = (made.mask, made.crop, made.resample, made.intensity, made.resize, made.windows)
        plain = self.output.probabilities is None and all(each is None for each in shaped)
        return plain and made.volume is not None

    @property
    def needed_structures(self) -> tuple[StructureTable, ...]:
        """What earlier models of the pipeline must have looked for."""
        made = self.input
        return (
            *(made.crop.structures if made.crop is not None else ()),
            *(made.mask.structures if made.mask is not None else ()),
            *(made.labels.values if made.labels is not None else ()),
            *(each.to for each in self.ratios),
        )

    def identity(self, server: str, *, asked_at: str = "") -> ModelIdentity:
        """Return how results name this model, as run by `server` ("triton 2.51.0")."""
        return ModelIdentity(
            name=self.algorithm.name,
            version=self.algorithm.version,
            manufacturer=self.algorithm.manufacturer,
            family=self.algorithm.family.code,
            manifest_digest=self._digest,
            triton_model=self.triton.model,
            server=server,
            asked_at=asked_at,
        )
