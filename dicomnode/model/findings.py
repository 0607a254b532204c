"""What the models found: segments, measurements, classifications, guards.  No data sets here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from dicomnode.model.volume import VolumeGeometry


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelIdentity:
    """The algorithm behind a finding, as results name it (PS3.16 TID 4019).

    Attributes
    ----------
    name, version, manufacturer : str
        Of the algorithm, from its manifest.
    family : Code
        Algorithm family (PS3.16 CID 7162).
    manifest_digest : str
        SHA-256 of the manifest file, hexadecimal.
    triton_model : str
        Name of the Triton model that was asked.
    server : str
        Name and version of the server that ran it, as it says itself.
    asked_at : str
        When it was asked, ISO 8601; empty where it was not.  Told in the summary and the job's
        record, not in DICOM objects: a repeat makes the same ones.
    """

    name: str
    version: str
    manufacturer: str
    family: Code
    manifest_digest: str
    triton_model: str
    server: str
    asked_at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number about a segment or the whole image.

    Attributes
    ----------
    name : Code
    value : float
    unit : Code
        UCUM.
    derivation : Code or None
        How the number sums up many (mean, say; PS3.16 CID 7464).
    """

    name: Code
    value: float
    unit: Code
    derivation: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment of a label map and what was measured in it.

    Attributes
    ----------
    number : int
        Segment Number, from 1, also the voxel value in the label map (PS3.3 C.8.20.2).
    label : str
        Segment Label, for people.
    category, property_type : Code
        Segmented Property Category and Type (PS3.16 CID 7150, 7151 and on).
    laterality : Code or None
        Left or right (PS3.16 CID 244), of the anatomic region where there is one.
    anatomic_region : Code or None
        Where it lies, for what is no anatomy itself: a lesion (PS3.3 C.8.20.2).
    color_rgb : tuple of int
        Recommended display color, 0 to 255.
    model : ModelIdentity
    volume_ml : float
        0 where nothing was found.
    measurements : tuple of Measurement
        Includes the volume.
    """

    number: int
    label: str
    category: Code
    property_type: Code
    laterality: Code | None
    color_rgb: tuple[int, int, int]
    model: ModelIdentity
    volume_ml: float
    measurements: tuple[Measurement, ...]
    anatomic_region: Code | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelMap:
    """Which segment each voxel of the source grid belongs to.

    Segments may overlap, a lesion lies in a lung: a value then stands for several of them.

    Attributes
    ----------
    labels : numpy.ndarray, shape (slices, rows, columns), dtype uint8
        0 is background, else a segment number or a value of `overlaps`.  Read-only; same grid as
        the volume.
    geometry : VolumeGeometry
    overlaps : mapping of int to tuple of int
        Value to the numbers of the segments that lie there, the uppermost last.  Empty where no
        two overlap.
    """

    labels: NDArray[np.uint8]
    geometry: VolumeGeometry
    overlaps: Mapping[int, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.dtype != np.uint8 or self.labels.shape != self.geometry.shape_kji:
            raise ValueError(
                f"wanted uint8 labels of shape {self.geometry.shape_kji}, "
                f"found {self.labels.dtype} of {self.labels.shape}"
            )
        self.labels.flags.writeable = False

    def values_of(self, number: int) -> NDArray[np.bool_]:
        """Return, for each of the 256 values, whether segment `number` lies there."""
        found = np.zeros(256, np.bool_)
        found[number] = True
        found[[value for value, numbers in self.overlaps.items() if number in numbers]] = True
        return found

    def uppermost(self) -> NDArray[np.uint8]:
        """Return, for each of the 256 values, the segment that lies uppermost there."""
        found = np.arange(256, dtype=np.uint8)
        for value, numbers in self.overlaps.items():
            found[value] = numbers[-1]
        return found

    def flat(self) -> NDArray[np.uint8]:
        """Return the labels with the uppermost segment alone where several overlap."""
        return self.uppermost()[self.labels] if self.overlaps else self.labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """What a classification model says of the whole volume.

    Attributes
    ----------
    question : Code
        What was asked, for example (99DCMNODE) "Opacity burden".
    answer : Code
        The class that was decided on.
    scores : tuple of (str, float)
        Class name and the model's score for it, in the model's order.
    score_kind : str
        What the scores are: ``probability``, or ``percent`` of a measured quantity.
    rule : str
        How the answer follows from the scores, in words.
    threshold : float or None
        Score from which the answer is given, in the unit of the scores; None where the rule is
        no threshold (the highest score, say).
    measurements : tuple of Measurement
        Numbers that the model gave beside the answer.
    model : ModelIdentity
    """

    question: Code
    answer: Code
    scores: tuple[tuple[str, float], ...]
    score_kind: str
    rule: str
    measurements: tuple[Measurement, ...]
    model: ModelIdentity
    threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A named reason for doubt or refusal.

    Attributes
    ----------
    name : str
        Stable, snake case: ``no_lungs``, ``lungs_touch_first_slice`` and so on.
    sentence : str
        The same in plain words, for a radiologist.
    blocks : bool
        Whether classification was left out because of it.
    """

    name: str
    sentence: str
    blocks: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """Everything that is reported of one series revision.

    Attributes
    ----------
    segments : tuple of Segment
        All segments looked for, also those that are empty (`volume_ml` 0).
    label_map : LabelMap
    classifications : tuple of Classification
        Empty where a guard blocked it.
    guards : tuple of Guard
    models : tuple of ModelIdentity
        Every model that was asked, in order.
    notes : tuple of str
        Facts of the source that a reader should know, in words.
    """

    segments: tuple[Segment, ...]
    label_map: LabelMap
    classifications: tuple[Classification, ...]
    guards: tuple[Guard, ...]
    models: tuple[ModelIdentity, ...]
    notes: tuple[str, ...] = ()

    @property
    def found_segments(self) -> tuple[Segment, ...]:
        """The segments that hold at least one voxel."""
        return tuple(segment for segment in self.segments if segment.volume_ml > 0)
