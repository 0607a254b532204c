"""What a model's answers mean: segments, classes, measurements, and what is made of them.

The tensors that carry the answers are in `tensors`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from dicomnode.inference.schema.vocabulary import (
    CodeTable,
    Finite,
    LongString,
    SegmentNumber,
    StructureTable,
    Table,
)
from dicomnode.standard.codes import unit

ColorComponent = Annotated[int, Field(ge=0, le=255)]
SegmentReport = Literal["volume", "mean", "percentile-15", "laa-950"]


class PostProcessing(Table):
    """What is done to each segment on the source grid, in this order."""

    largest_components: int | None = Field(None, ge=1, le=64, description="How many are kept.")
    fill_holes: bool = Field(False, description="Cavities that the segment encloses join it.")
    minimum_ml: float = Field(0.0, ge=0, le=10_000, description="A smaller component is dropped.")


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
