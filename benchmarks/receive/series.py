"""Synthetic CT for senders: 512 x 512 int16 with noise as real images have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

BATCHES = 8
"""Folders of one series: whatever the number of associations, the same files are sent."""


def make_series(folder: Path, count: int) -> list[list[Path]]:
    """Write a series of `count` instances; return the files of each of its `BATCHES` folders."""
    rng = np.random.default_rng(20260101)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    batches: list[list[Path]] = [[] for _ in range(BATCHES)]
    for batch, files in enumerate(batches):
        into = folder / f"part-{batch}"
        into.mkdir(parents=True, exist_ok=True)
        each = count // BATCHES
        for number in range(batch * each, (batch + 1) * each):
            files.append(into / f"{number:04d}.dcm")
            _write(files[-1], rng, number, study, series, frame)
    return batches


def share(batches: list[list[Path]], associations: int) -> list[list[Path]]:
    """Give each of so many senders its part of all files."""
    shares: list[list[Path]] = [[] for _ in range(associations)]
    for number, files in enumerate(batches):
        shares[number % associations].extend(files)
    return shares


def _write(path, rng, number, study, series, frame) -> None:
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = "20260101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = "101500"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = "A1", "CT", "Bench"
    ds.StudyDescription, ds.SeriesDescription = "Benchmark", "Noise"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Bench^Mark", "B1", "", "O"
    ds.SliceThickness, ds.KVP = "1.0", "120"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
    ds.StudyID, ds.SeriesNumber, ds.InstanceNumber = "1", "1", str(number + 1)
    ds.ImagePositionPatient = [-180.0, -180.0, float(number)]
    ds.ImageOrientationPatient = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = 512
    ds.PixelSpacing = [0.7, 0.7]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
    ds.RescaleIntercept, ds.RescaleSlope = "0", "1"
    ds.PixelData = rng.normal(-400, 60, (512, 512)).astype("<i2").tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.save_as(path, enforce_file_format=True)
