"""Made-up CT series as Part 10 files: the headers that a scanner would write.  No voxels are made.

Everything in a header here is invented; no value was taken from a patient or a real scanner.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian
from pydicom.valuerep import format_number_as_ds

from dicomnode import __version__
from dicomnode.standard.uids import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    derive_uid,
)

TAKEN_AT: Final = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
"""When a made-up series says that it was acquired, unless told otherwise."""

_INTERCEPT_HU: Final = -1024


def write_ct_series(
    folder: Path,
    hu: NDArray[np.int16],
    *,
    spacing_kji_mm: Sequence[float],
    origin_lps: Sequence[float],
    orientation: Sequence[float] = (1, 0, 0, 0, 1, 0),
    transfer_syntax: str = ExplicitVRLittleEndian,
    seed: int | None = None,
    taken_at: datetime = TAKEN_AT,
    file_names: Sequence[str] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write a volume as one CT Image Storage instance a slice (PS3.3 A.3).

    Parameters
    ----------
    folder : Path
        Made where it is absent.
    hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Radiodensity in Hounsfield units.  Slices run along row x column cosines.
    spacing_kji_mm : sequence of float
        Distance of neighbors between slices, rows and columns, in mm.
    origin_lps : sequence of float
        Center of voxel (0, 0, 0) in LPS mm.
    orientation : sequence of float
        Image Orientation (Patient): row cosines, then column cosines (PS3.3 C.7.6.2.1.1).
    transfer_syntax : str
        Any uncompressed one, or one that pydicom can encode.
    seed : int, optional
        The same seed makes the same UIDs; without it they are fresh.
    taken_at : datetime
        Date and time of study, series and acquisition.
    file_names : sequence of str, optional
        One a slice; ``IM0001.dcm`` and so on, from the head down, by default.
    attributes : mapping of str to object, optional
        Attributes by keyword that replace or add to the header.  A function is called with the
        zero-based slice index; None leaves the attribute out.

    Returns
    -------
    list of Path
        The files in slice order.

    Raises
    ------
    ValueError
        If the voxels are no int16 volume, or their number and that of the names differ.
    """
    if hu.ndim != 3 or hu.dtype != np.int16:
        raise ValueError(f"wanted int16 voxels of three axes, found {hu.dtype} of {hu.shape}")
    count = hu.shape[0]
    # Scanners number from the head down, which is against the slice order used here.
    names = file_names or [f"IM{count - k:04d}.dcm" for k in range(count)]
    if len(names) != count:
        raise ValueError(f"wanted one file name a slice, {count}, found {len(names)}")
    token = uuid.uuid4().hex if seed is None else f"seed {seed}"
    header = _series_header(token, taken_at)
    row, column = np.asarray(orientation[:3], float), np.asarray(orientation[3:], float)
    normal = np.cross(row, column)
    origin = np.asarray(origin_lps, float)

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(count):
        ds = Dataset()
        ds.update(header)
        _set_plane(
            ds,
            spacing_kji_mm=spacing_kji_mm,
            orientation=orientation,
            position_lps=origin + k * float(spacing_kji_mm[0]) * normal,
            normal=normal,
        )
        ds.SOPInstanceUID = derive_uid("made-up CT", token, "instance", str(k))
        ds.InstanceNumber = count - k
        _set_pixels(ds, hu[k], big_endian=transfer_syntax == ExplicitVRBigEndian)
        _apply(ds, attributes or {}, k)
        path = folder / names[k]
        _save(ds, path, UID(transfer_syntax))
        paths.append(path)
    return paths


def _series_header(token: str, taken_at: datetime) -> Dataset:
    """What all instances share: modules Patient to Equipment, then the image's own."""
    ds = _image_header()
    date, time = taken_at.strftime("%Y%m%d"), taken_at.strftime("%H%M%S")
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = date
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = time
    ds.AccessionNumber = "PHANTOM1"
    ds.Modality = "CT"
    ds.Manufacturer = "dicomnode"
    ds.InstitutionName = "dicomnode demonstration"
    ds.ReferringPhysicianName = ""
    ds.StationName = "PHANTOM"
    ds.StudyDescription = "Chest CT, synthetic"
    ds.SeriesDescription = "Thorax phantom, 2.5 mm"
    ds.ManufacturerModelName = "Thorax phantom"
    ds.PatientName = "PHANTOM^CHEST"
    ds.PatientID = "DICOMNODE-PHANTOM"
    ds.PatientBirthDate = ""
    ds.PatientSex = "O"
    ds.DeviceSerialNumber = "1"
    ds.SoftwareVersions = __version__
    ds.PatientPosition = "HFS"
    ds.StudyInstanceUID = derive_uid("made-up CT", token, "study")
    ds.SeriesInstanceUID = derive_uid("made-up CT", token, "series")
    ds.StudyID = "1"
    ds.SeriesNumber = 2
    ds.FrameOfReferenceUID = derive_uid("made-up CT", token, "frame of reference")
    ds.PositionReferenceIndicator = ""
    return ds


def _image_header() -> Dataset:
    """CT Image and Image Pixel (PS3.3 C.8.2.1, C.7.6.3), Type 1 and 2 and what scanners add."""
    ds = Dataset()
    ds.SOPClassUID = CTImageStorage
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.AcquisitionNumber = 1
    ds.BodyPartExamined = "CHEST"
    ds.KVP = "120"
    ds.ProtocolName = "Thorax"
    ds.DataCollectionDiameter = "500"
    ds.GantryDetectorTilt = "0"
    ds.TableHeight = "150"
    ds.ExposureTime = "500"
    ds.XRayTubeCurrent = "200"
    ds.Exposure = "100"
    ds.ConvolutionKernel = "STANDARD"
    ds.SamplesPerPixel = 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    ds.PixelRepresentation = 1
    # A window for lungs first, then one for soft tissue (PS3.3 C.11.2).
    ds.WindowCenter = ["-500", "50"]
    ds.WindowWidth = ["1500", "350"]
    ds.RescaleIntercept = str(_INTERCEPT_HU)
    ds.RescaleSlope = "1"
    ds.RescaleType = "HU"
    return ds


def _set_plane(
    ds: Dataset,
    *,
    spacing_kji_mm: Sequence[float],
    orientation: Sequence[float],
    position_lps: NDArray[np.float64],
    normal: NDArray[np.float64],
) -> None:
    """Image Plane (PS3.3 C.7.6.2); decimal strings hold at most 16 characters (PS3.5 6.2)."""
    thickness, row_mm, column_mm = (_decimal(each) for each in spacing_kji_mm)
    ds.SliceThickness = thickness
    ds.PixelSpacing = [row_mm, column_mm]
    ds.ImageOrientationPatient = [_decimal(each) for each in orientation]
    ds.ImagePositionPatient = [_decimal(each) for each in position_lps]
    ds.SliceLocation = _decimal(float(position_lps @ normal))


def _decimal(value: float) -> str:
    # Adding zero turns -0.0 into 0.0, which reads better.
    return format_number_as_ds(float(value) + 0.0)


def _set_pixels(ds: Dataset, plane_hu: NDArray[np.int16], *, big_endian: bool) -> None:
    """Store Hounsfield units above the intercept (PS3.3 C.11.1.1.2)."""
    stored = plane_hu.astype(np.int32) - _INTERCEPT_HU
    if stored.max(initial=0) > 32767:
        raise ValueError(f"wanted at most {32767 + _INTERCEPT_HU} HU, found {plane_hu.max()}")
    ds.Rows, ds.Columns = plane_hu.shape
    ds.PixelData = stored.astype(">i2" if big_endian else "<i2").tobytes()


def _apply(ds: Dataset, attributes: Mapping[str, Any], k: int) -> None:
    """Replace, add or leave out attributes of slice `k`."""
    for keyword, given in attributes.items():
        value = given(k) if callable(given) else given
        if value is not None:
            setattr(ds, keyword, value)
        elif keyword in ds:
            delattr(ds, keyword)


def _save(ds: Dataset, path: Path, transfer_syntax: UID) -> None:
    """Write a Part 10 file (PS3.10 7.1), compressed first where the syntax asks for it."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = ds.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = UID(str(ds.get("SOPInstanceUID") or derive_uid(path.name)))
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    compressed = transfer_syntax.is_encapsulated
    meta.TransferSyntaxUID = UID(ExplicitVRLittleEndian) if compressed else transfer_syntax
    ds.file_meta = meta
    if compressed:
        ds.compress(transfer_syntax, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
