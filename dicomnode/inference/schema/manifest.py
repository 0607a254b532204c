"""The manifest as a whole, and what it says that is no tensor, preparation or answer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PrivateAttr, model_validator

from dicomnode.config import Name
from dicomnode.inference.faults import cross_faults
from dicomnode.inference.schema.answers import (
    ManifestClassification,
    ManifestMeasurement,
    ManifestSegment,
    PostProcessing,
    Ratio,
)
from dicomnode.inference.schema.preparation import (
    Crop,
    Intensity,
    Mask,
    Orientation,
    Resample,
    Resize,
    Windows,
)
from dicomnode.inference.schema.tensors import (
    BytesTensor,
    LabelsTensor,
    NiftiTensor,
    NumbersTensor,
    ProbabilitiesTensor,
    ScoresTensor,
    SentLabelsTensor,
    VolumeTensor,
)
from dicomnode.inference.schema.vocabulary import CodeTable, LongString, StructureTable, Table
from dicomnode.model.findings import ModelIdentity


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
