"""Result objects before judges: highdicom and dcmqi say where the voxels of a SEG lie."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from tests.support.orthanc import Orthanc, Stored

LABELS = ("Left lung", "Right lung", "Ground glass opacity", "Consolidation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The grid of a CT from its headers alone: (slice, row, column) to LPS mm."""

    shape_kji: tuple[int, int, int]
    affine_kji_to_lps: NDArray[np.float64]
    series_instance_uid: str
    sop_instance_uids: frozenset[str]


def grid_of(paths: Sequence[Path]) -> Grid:
    """Read the headers of a CT series with axial or any other even slices (PS3.3 C.7.6.2)."""
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    cosines = np.array(headers[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(cosines[:3], cosines[3:])
    positions = sorted(
        (np.array(each.ImagePositionPatient, dtype=float) for each in headers),
        key=lambda position: float(position @ normal),
    )
    between_rows, between_columns = (float(each) for each in headers[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, 0] = (positions[-1] - positions[0]) / (len(positions) - 1)
    affine[:3, 1] = cosines[3:] * between_rows
    affine[:3, 2] = cosines[:3] * between_columns
    affine[:3, 3] = positions[0]
    return Grid(
        shape_kji=(len(headers), int(headers[0].Rows), int(headers[0].Columns)),
        affine_kji_to_lps=affine,
        series_instance_uid=str(headers[0].SeriesInstanceUID),
        sop_instance_uids=frozenset(str(each.SOPInstanceUID) for each in headers),
    )


def pick(stored: Mapping[str, Stored], modality: str) -> Stored:
    """Return the one instance of a modality."""
    found = [each for each in stored.values() if each.modality == modality]
    assert len(found) == 1, f"wanted one {modality}, found {len(found)} of {len(stored)}"
    return found[0]


def fetch_results(orthanc: Orthanc, *, before: Mapping[str, Stored]) -> tuple[Dataset, Dataset]:
    """Return the one SEG and the one SR that came since `before`."""
    came = {uid: each for uid, each in orthanc.instances().items() if uid not in before}
    assert sorted(each.modality for each in came.values()) == ["SEG", "SR"]
    return orthanc.fetch(pick(came, "SEG")), orthanc.fetch(pick(came, "SR"))


def masks_by_highdicom(seg: Dataset, grid: Grid) -> dict[str, NDArray[np.bool_]]:
    """Return each segment's voxels on the CT's grid, by segment label."""
    read = highdicom.seg.Segmentation.from_dataset(seg)
    volume = read.get_volume()
    labels = [str(each.SegmentLabel) for each in read.SegmentSequence]
    return {
        label: _on_grid(volume.array[..., index] > 0, volume.affine, grid)
        for index, label in enumerate(labels)
    }


def masks_by_dcmqi(seg: Dataset, grid: Grid, folder: Path) -> list[NDArray[np.bool_]]:
    """Return each segment's voxels on the CT's grid, by segment number."""
    folder.mkdir(parents=True, exist_ok=True)
    seg.save_as(folder / "seg.dcm", enforce_file_format=True)
    subprocess.run(
        [
            Path(sys.executable).with_name("segimage2itkimage"),
            *("--inputDICOM", folder / "seg.dcm", "--outputDirectory", folder),
            *("--outputType", "nii", "--prefix", "dcmqi"),
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    masks = []
    for number in range(1, len(seg.SegmentSequence) + 1):
        image = SimpleITK.ReadImage(str(folder / f"dcmqi-{number}.nii.gz"))
        direction = np.array(image.GetDirection()).reshape(3, 3)
        affine = np.eye(4)
        # ITK's axes are (column, row, slice), its arrays' (slice, row, column).
        affine[:3, :3] = (direction * np.array(image.GetSpacing()))[:, ::-1]
        affine[:3, 3] = image.GetOrigin()
        masks.append(_on_grid(SimpleITK.GetArrayFromImage(image) > 0, affine, grid))
    return masks


def centroid_lps(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """Return where the middle of a mask lies in the patient, in LPS mm."""
    middle = np.argwhere(mask).mean(axis=0)
    return (grid.affine_kji_to_lps @ np.append(middle, 1.0))[:3]


def assert_results_fit(seg: Dataset, sr: Dataset, paths: Sequence[Path], scratch: Path) -> None:
    """Hold SEG and SR against the CT: grid, sides, references, and two readers' opinions."""
    grid = grid_of(paths)
    masks = masks_by_highdicom(seg, grid)
    assert tuple(masks) == LABELS
    for mask, other in zip(masks.values(), masks_by_dcmqi(seg, grid, scratch), strict=True):
        assert mask.any()
        np.testing.assert_array_equal(mask, other)
    assert not (masks["Left lung"] & masks["Right lung"]).any()
    _assert_sides(seg, masks, grid)
    _assert_references(seg, sr, grid)


def _assert_sides(seg: Dataset, masks: dict[str, NDArray[np.bool_]], grid: Grid) -> None:
    sides = [
        each.SegmentedPropertyTypeCodeSequence[0]
        .SegmentedPropertyTypeModifierCodeSequence[0]
        .CodeMeaning
        for each in seg.SegmentSequence[:2]  # the lungs; opacities have no side of their own
    ]
    assert sides == ["Left", "Right"]
    left, right = (centroid_lps(masks[label], grid) for label in LABELS[:2])
    # LPS: x grows to the patient's left.  The lungs' middles are a hand's breadth apart.
    assert left[0] - right[0] > 60


def _assert_references(seg: Dataset, sr: Dataset, grid: Grid) -> None:
    referenced = seg.ReferencedSeriesSequence[0]
    assert referenced.SeriesInstanceUID == grid.series_instance_uid
    used = {each.ReferencedSOPInstanceUID for each in referenced.ReferencedInstanceSequence}
    assert used == grid.sop_instance_uids
    evidence = {
        instance.ReferencedSOPInstanceUID
        for study in sr.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    assert evidence == grid.sop_instance_uids | {seg.SOPInstanceUID}
    read = highdicom.sr.ComprehensiveSR.from_dataset(sr) if _is_comprehensive(sr) else sr
    assert read.ContentSequence


def _is_comprehensive(sr: Dataset) -> bool:
    return sr.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.33"


def _on_grid(mask: NDArray[np.bool_], affine: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_]:
    """Put an image's voxels where they lie on the CT's grid; they must lie on it exactly."""
    to_grid = np.linalg.inv(grid.affine_kji_to_lps) @ affine
    whole = np.rint(to_grid)
    # 1e-3 of a voxel over the whole image: dcmqi keeps spacings as single floats.
    np.testing.assert_allclose(to_grid, whole, atol=1e-3 / max(mask.shape) + 1e-5)
    where = (whole[:3, :3] @ np.argwhere(mask).T + whole[:3, 3:]).astype(int)
    found = np.zeros(grid.shape_kji, np.bool_)
    found[tuple(where)] = True
    assert found.sum() == mask.sum()
    return found
