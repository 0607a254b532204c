"""Model manifests: what a Triton model takes, gives and means.  No server is asked here."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydicom.sr.coding import Code

from dicomnode.config import Name
from dicomnode.errors import ManifestInvalid
from dicomnode.model.findings import ModelIdentity
from dicomnode.standard.codes import check_code, unit

SHIPPED_MODELS: Final = Path(__file__).resolve().parents[1] / "model_repository"
"""The Triton model repository that the package carries, with its manifests."""

MANIFEST_NAME: Final = "manifest.toml"

LongString = Annotated[str, StringConstraints(pattern=r"^[^\\\x00-\x1f]{1,64}$")]
"""Value representation LO (PS3.5 6.2): at most 64 characters, no backslash."""

ShortString = Annotated[str, StringConstraints(pattern=r"^[^\\\x00-\x1f]{1,16}$")]
"""Value representation SH (PS3.5 6.2): at most 16 characters, no backslash."""

ColorComponent = Annotated[int, Field(ge=0, le=255)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CodeTable(_Table):
    """A coded concept as a manifest writes it (PS3.3 8.8), checked against the dictionaries."""

    value: ShortString
    scheme: ShortString
    meaning: LongString

    @model_validator(mode="after")
    def _known(self) -> CodeTable:
        check_code(self.scheme, self.value, self.meaning)
        return self

    @property
    def code(self) -> Code:
        """The concept as pydicom and highdicom take it."""
        return Code(self.value, self.scheme, self.meaning)


class TritonModel(_Table):
    """Which model of the server answers."""

    model: str = Field(min_length=1, max_length=255)
    version: str = Field("", pattern=r"^\d*$", description="Empty: the server's choice.")


class Algorithm(_Table):
    """How results name the algorithm (PS3.16 TID 4019)."""

    name: LongString
    version: LongString
    manufacturer: LongString
    family: CodeTable
    license: str = Field(min_length=1)
    intended_use: str = Field(min_length=1)


class VolumeTensor(_Table):
    """The volume, shape [slices, rows, columns], Hounsfield units."""

    tensor: str = Field(min_length=1)
    dtype: Literal["INT16", "FP32"]


class LabelsTensor(_Table):
    """A label map, shape [slices, rows, columns], 0 background, else segment numbers."""

    tensor: str = Field(min_length=1)
    dtype: Literal["UINT8"]


class NumbersTensor(_Table):
    """A short list of numbers, shape [count]."""

    tensor: str = Field(min_length=1)
    dtype: Literal["FP32"]


class ManifestInput(_Table):
    """Tensors the model takes."""

    orientation: Literal["LPS"] = Field(
        description="The last axis grows to the patient's left, the middle to the back, the first "
        "to the head."
    )
    volume: VolumeTensor
    spacing: NumbersTensor | None = Field(None, description="Millimeters: slices, rows, columns.")
    labels: LabelsTensor | None = None


class ManifestOutput(_Table):
    """Tensors the model gives."""

    labels: LabelsTensor | None = None
    scores: NumbersTensor | None = None
    measurements: NumbersTensor | None = None


class ManifestSegment(_Table):
    """A segment of the label map (PS3.3 C.8.20.2)."""

    number: int = Field(ge=1, le=255)
    label: LongString
    category: CodeTable
    type: CodeTable
    laterality: CodeTable | None = None
    anatomic_region: CodeTable | None = Field(
        None, description="Where it lies, for what is no anatomy itself; laterality is then its."
    )
    color_rgb: tuple[ColorComponent, ColorComponent, ColorComponent]


class ClassificationClass(_Table):
    """One possible answer."""

    code: CodeTable
    from_score: float | None = Field(None, allow_inf_nan=False)


class ManifestClassification(_Table):
    """What a classifying model is asked and how its scores become an answer."""

    question: CodeTable
    score_kind: Literal["percent", "probability"]
    decision: Literal["grades", "argmax"]
    rule: str = Field(min_length=1)
    classes: tuple[ClassificationClass, ...] = Field(min_length=2)


class ManifestMeasurement(_Table):
    """What one element of the measurements tensor is."""

    name: CodeTable
    unit: str

    @field_validator("unit")
    @classmethod
    def _known_unit(cls, symbol: str) -> str:
        try:
            unit(symbol)
        except KeyError:
            raise ValueError("is not a UCUM unit that the node writes") from None
        return symbol


class Manifest(_Table):
    """A model as pipelines know it.  Made by `load_manifest`, valid in itself.

    Whether the server's model is as the manifest says is for `TritonClient.check_contract`.
    """

    schema_version: Literal[1]
    name: Name
    task: Literal["segment", "classify"]
    triton: TritonModel
    algorithm: Algorithm
    input: ManifestInput
    output: ManifestOutput
    segments: tuple[ManifestSegment, ...] = ()
    classification: ManifestClassification | None = None
    measurements: tuple[ManifestMeasurement, ...] = ()

    _digest: str = PrivateAttr("")

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        faults = list(_cross_faults(self.model_dump()))
        if faults:
            raise ValueError("; ".join(faults))
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest file, hexadecimal."""
        return self._digest

    def identity(self, server: str) -> ModelIdentity:
        """Return how results name this model, as run by `server` ("triton 2.51.0")."""
        return ModelIdentity(
            name=self.algorithm.name,
            version=self.algorithm.version,
            manufacturer=self.algorithm.manufacturer,
            family=self.algorithm.family.code,
            manifest_digest=self._digest,
            triton_model=self.triton.model,
            server=server,
        )


def load_manifest(path: Path) -> Manifest:
    """Read and check one manifest file.

    Raises
    ------
    ManifestInvalid
        Naming the file and every fault in it with its dotted path.
    """
    try:
        content = path.read_bytes()
        values = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ManifestInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestInvalid(f"{path}: is not TOML: {error}") from error
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        faults = [*_field_faults(error), *_cross_faults(values)]
        raise ManifestInvalid(f"{path}: {'; '.join(faults)}") from error
    manifest._digest = hashlib.sha256(content).hexdigest()  # noqa: SLF001  a value is made here
    return manifest


def find_manifests(folders: Iterable[Path]) -> dict[str, Manifest]:
    """Read the manifest of every model in the given model repositories.

    Parameters
    ----------
    folders : iterable of Path
        Triton model repositories: one folder a model, ``manifest.toml`` beside its configuration.

    Returns
    -------
    dict
        By manifest name, in order of folders and of names within them.

    Raises
    ------
    ManifestInvalid
        With the faults of all manifests; also where a folder is missing or a name is used twice.
    """
    found: dict[str, Manifest] = {}
    origins: dict[str, Path] = {}
    faults: list[str] = []
    for folder in folders:
        if not folder.is_dir():
            faults.append(f"{folder}: wanted a folder with models, found none")
            continue
        for path in sorted(folder.glob(f"*/{MANIFEST_NAME}")):
            try:
                manifest = load_manifest(path)
            except ManifestInvalid as error:
                faults.append(str(error))
                continue
            if manifest.name in found:
                faults.append(f"{path}: name: {origins[manifest.name]} has {manifest.name!r} too")
                continue
            found[manifest.name] = manifest
            origins[manifest.name] = path
    if faults:
        raise ManifestInvalid("\n".join(faults))
    return found


def _field_faults(error: ValidationError) -> Iterator[str]:
    """Put pydantic's findings in the words of the configuration's faults."""
    for each in error.errors(include_url=False, include_context=False):
        if not each["loc"]:
            continue  # `_cross_faults` says it, with paths
        path = ".".join(str(part) for part in each["loc"])
        if each["type"] == "extra_forbidden":
            close = difflib.get_close_matches(str(each["loc"][-1]), _KEYS, n=1)
            yield f"{path}: no such key" + (f"; did you mean {close[0]!r}?" if close else "")
        elif each["type"] == "missing":
            yield f"{path}: is required"
        else:
            message = each["msg"].removeprefix("Value error, ")
            found = "" if isinstance(each["input"], Mapping) else f", found {each['input']!r}"
            yield f"{path}: {message[0].lower()}{message[1:]}{found}"


def _cross_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Check what one table says of another, on raw values, so that no fault hides another."""
    task = values.get("task")
    outputs = _present(values.get("output"))
    if task == "segment":
        yield from _wanted(outputs, "output.labels", needed={"labels"}, unused={"scores"})
        yield from _segment_faults(_tables(values.get("segments")))
        if "labels" in _present(values.get("input")):
            yield "input.labels: is for models of task classify"
        for key in ("classification", "measurements"):
            if values.get(key):
                yield f"{key}: is for models of task classify"
    elif task == "classify":
        yield from _wanted(outputs, "output.scores", needed={"scores"}, unused={"labels"})
        if values.get("segments"):
            yield "segments: is for models of task segment"
        classification = values.get("classification")
        if not isinstance(classification, Mapping):
            yield "classification: is required for task classify"
        else:
            yield from _class_faults(classification)
    if ("measurements" in outputs) != bool(values.get("measurements")):
        yield "output.measurements: wanted together with [[measurements]], found one without other"
    yield from _tensor_faults(values)


def _wanted(found: set[str], path: str, *, needed: set[str], unused: set[str]) -> Iterator[str]:
    if not needed <= found:
        yield f"{path}: is required for this task"
    for key in sorted(unused & found):
        yield f"output.{key}: is for models of the other task"


def _segment_faults(segments: list[Mapping[str, Any]]) -> Iterator[str]:
    if not segments:
        yield "segments: wanted at least one for task segment, found none"
    for index, segment in enumerate(segments):
        number = segment.get("number")
        if isinstance(number, int) and number != index + 1:
            # Segment Number starts at 1 and increases by 1 (PS3.3 C.8.20.2).
            yield f"segments.{index}.number: wanted {index + 1}, found {number}"


def _class_faults(classification: Mapping[str, Any]) -> Iterator[str]:
    decision = classification.get("decision")
    lowest: float | None = None
    seen: set[tuple[Any, Any]] = set()
    for index, each in enumerate(_tables(classification.get("classes"))):
        path = f"classification.classes.{index}"
        score = each.get("from_score")
        if decision == "argmax" and score is not None:
            yield f"{path}.from_score: is for decision grades"
        if decision == "grades" and score is None:
            yield f"{path}.from_score: is required for decision grades"
        if decision == "grades" and isinstance(score, int | float):
            if lowest is None and index == 0 and score != 0:
                yield f"{path}.from_score: wanted 0 for the first class, found {score}"
            if lowest is not None and not score > lowest:
                yield f"{path}.from_score: wanted more than {lowest}, found {score}"
            lowest = float(score)
        code = each.get("code")
        if isinstance(code, Mapping):
            key = (str(code.get("scheme")), str(code.get("value")))
            if key in seen:
                yield f"{path}.code: ({key[1]}, {key[0]}) already names another class"
            seen.add(key)


def _tensor_faults(values: Mapping[str, Any]) -> Iterator[str]:
    for side in ("input", "output"):
        names: set[str] = set()
        tables = values.get(side)
        for key, table in tables.items() if isinstance(tables, Mapping) else ():
            name = table.get("tensor") if isinstance(table, Mapping) else None
            if isinstance(name, str):
                if name in names:
                    yield f"{side}.{key}.tensor: {name!r} already names another tensor"
                names.add(name)


def _present(table: Any) -> set[str]:
    """Return the keys of a table that hold something."""
    if not isinstance(table, Mapping):
        return set()
    return {str(key) for key, value in table.items() if value is not None}


def _tables(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list | tuple):
        return []
    return [each for each in value if isinstance(each, Mapping)]


_KEYS: Final = sorted(
    {
        key
        for table in (
            *(Manifest, TritonModel, Algorithm, CodeTable, ManifestInput, ManifestOutput),
            *(VolumeTensor, ManifestSegment, ManifestClassification, ClassificationClass),
            ManifestMeasurement,
        )
        for key in table.model_fields
    }
)
