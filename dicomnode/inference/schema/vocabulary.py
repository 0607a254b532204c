"""What the tables of a manifest have in common: bounded values, the code, the structure."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydicom.sr.coding import Code

from dicomnode.standard.codes import check_code

LongString = Annotated[str, StringConstraints(pattern=r"^[^\\\x00-\x1f]{1,64}$")]
"""Value representation LO (PS3.5 6.2): at most 64 characters, no backslash."""

ShortString = Annotated[str, StringConstraints(pattern=r"^[^\\\x00-\x1f]{1,16}$")]
"""Value representation SH (PS3.5 6.2): at most 16 characters, no backslash."""

SegmentNumber = Annotated[int, Field(ge=1, le=255)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


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


class StructureTable(Table):
    """A structure that an earlier model of the pipeline has segmented."""

    type: CodeTable = Field(description="Segmented property type.")
    laterality: CodeTable | None = Field(None, description="Absent: either side and both.")
