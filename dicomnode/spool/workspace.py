"""Work files of one analysis: what a finished step leaves for the next.  Formats only, no stages.

Arrays are ``.npy`` files, everything else is JSON.  All are written durably before the step that
made them counts as done, and can be made again from the received instances.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from dicomnode.errors import StateError
from dicomnode.model.findings import (
    Classification,
    Findings,
    Guard,
    LabelMap,
    ModelIdentity,
    Segment,
)
from dicomnode.model.volume import SourceFrame, Volume, VolumeGeometry
from dicomnode.spool.array_file import ArrayFile
from dicomnode.spool.durable import write_durably

_SEGMENTS = TypeAdapter(tuple[Segment, ...])
_CLASSIFICATIONS = TypeAdapter(tuple[Classification, ...])
_GUARDS = TypeAdapter(tuple[Guard, ...])
_MODELS = TypeAdapter(tuple[ModelIdentity, ...])
_OVERLAPS = TypeAdapter(dict[int, tuple[int, ...]])
_SOURCES = TypeAdapter(tuple[SourceFrame, ...])


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder with the work files of one analysis."""

    folder: Path

    def save_volume(self, volume: Volume, paths: Sequence[Path]) -> None:
        """Keep the volume and, in slice order, the files it was read from."""
        self._save_array("volume", volume.voxels_hu)
        self._save_volume_facts(volume, paths)

    def voxels_file(self) -> ArrayFile:
        """Return the file to read the voxels of a volume into."""
        return ArrayFile(self.folder / "volume.npy", np.int16)

    def keep_volume(self, voxels: ArrayFile, volume: Volume, paths: Sequence[Path]) -> None:
        """Keep a volume, as `save_volume`, whose voxels lie in `voxels` already."""
        voxels.keep()
        self._save_volume_facts(volume, paths)

    def load_volume(self) -> tuple[Volume, tuple[Path, ...]]:
        """Return what `save_volume` kept; the voxels are mapped, not read.

        Raises
        ------
        StateError
            If the work files are not there.
        """
        voxels = self._load_array("volume")
        facts = self._load_json("volume")
        volume = Volume(
            voxels_hu=voxels,
            geometry=VolumeGeometry(
                shape_kji=(voxels.shape[0], voxels.shape[1], voxels.shape[2]),
                affine_ijk_to_lps=np.array(facts["affine_ijk_to_lps"]),
                slice_places=None
                if facts.get("slice_places") is None
                else np.array(facts["slice_places"]),
            ),
            sources=_SOURCES.validate_python(facts["sources"]),
            frame_of_reference_uid=facts["frame_of_reference_uid"],
            notes=tuple(facts["notes"]),
        )
        return volume, tuple(Path(path) for path in facts["paths"])

    def labels_file(self) -> ArrayFile:
        """Return the file that a label map may be made in."""
        return ArrayFile(self.folder / "labels.npy", np.uint8)

    def save_findings(self, findings: Findings, labels: ArrayFile | None = None) -> None:
        """Keep the findings, label map included, which may lie in `labels` already."""
        if labels is not None and labels.holds(findings.label_map.labels):
            labels.keep()
        else:
            self._save_array("labels", findings.label_map.labels)
        self._save_json(
            "findings",
            {
                "segments": _SEGMENTS.dump_python(findings.segments, mode="json"),
                "classifications": _CLASSIFICATIONS.dump_python(
                    findings.classifications, mode="json"
                ),
                "guards": _GUARDS.dump_python(findings.guards, mode="json"),
                "models": _MODELS.dump_python(findings.models, mode="json"),
                "notes": list(findings.notes),
                "overlaps": _OVERLAPS.dump_python(dict(findings.label_map.overlaps), mode="json"),
            },
        )

    def load_findings(self, geometry: VolumeGeometry) -> Findings:
        """Return what `save_findings` kept.

        Parameters
        ----------
        geometry : VolumeGeometry
            Of the volume that the findings belong to.

        Raises
        ------
        StateError
            If the work files are not there.
        """
        facts = self._load_json("findings")
        return Findings(
            segments=_SEGMENTS.validate_python(facts["segments"]),
            label_map=LabelMap(
                labels=self._load_array("labels"),
                geometry=geometry,
                overlaps=_OVERLAPS.validate_python(facts.get("overlaps", {})),
            ),
            classifications=_CLASSIFICATIONS.validate_python(facts["classifications"]),
            guards=_GUARDS.validate_python(facts["guards"]),
            models=_MODELS.validate_python(facts["models"]),
            notes=tuple(facts["notes"]),
        )

    def has(self, name: str) -> bool:
        """Whether the JSON file `name` is there; it is written last, so its arrays are too."""
        return (self.folder / f"{name}.json").is_file()

    def _save_volume_facts(self, volume: Volume, paths: Sequence[Path]) -> None:
        self._save_json(
            "volume",
            {
                "affine_ijk_to_lps": volume.geometry.affine_ijk_to_lps.tolist(),
                "slice_places": None
                if volume.geometry.slice_places is None
                else volume.geometry.slice_places.tolist(),
                "sources": _SOURCES.dump_python(volume.sources, mode="json"),
                "frame_of_reference_uid": volume.frame_of_reference_uid,
                "notes": list(volume.notes),
                "paths": [str(path) for path in paths],
            },
        )

    def _save_array(self, name: str, array: NDArray[Any]) -> None:
        contiguous = np.ascontiguousarray(array)
        header = io.BytesIO()
        # Header and voxels are written one after the other: no copy of the volume is made.
        facts = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape}
        np.lib.format.write_array_header_1_0(header, facts)  # type: ignore[no-untyped-call]  # numpy has none
        content = contiguous.reshape(-1).view(np.uint8).data
        write_durably(self.folder / f"{name}.npy", (header.getvalue(), content))

    def _load_array(self, name: str) -> NDArray[Any]:
        path = self.folder / f"{name}.npy"
        try:
            found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise StateError(f"work file {path.name} cannot be read") from error
        return found

    def _save_json(self, name: str, facts: dict[str, Any]) -> None:
        write_durably(self.folder / f"{name}.json", (json.dumps(facts).encode(),))

    def _load_json(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        try:
            facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StateError(f"work file {path.name} cannot be read") from error
        return facts
