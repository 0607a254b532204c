"""Decoding 12-bit JPEG Extended, for which pydicom has no plugin: by the GDCM within ITK.

Stored values come out; nothing here knows of Hounsfield units.  Runs in decoding processes.
"""

from __future__ import annotations

import os

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import JPEGExtended12Bit

from dicomnode.standard.sop_classes import CT_IMAGE

_DESCRIPTION = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


def decode_frame(ds: pydicom.Dataset, index: int) -> NDArray[np.generic]:
    """Decode one frame.

    Parameters
    ----------
    ds : pydicom.Dataset
        With encapsulated Pixel Data, in any number of fragments a frame, with or without an
        offset table (PS3.5 A.4).
    index : int
        Zero-based.

    Returns
    -------
    numpy.ndarray, shape (rows, columns)
        Stored values, before rescale.

    Raises
    ------
    Exception
        Nearly anything, as decoders of hostile pixels do.
    """
    # Decoding processes start a third of a second sooner without it, and hardly ever need it.
    import SimpleITK  # noqa: PLC0415

    single = _single_frame(ds, index)
    # ITK reads files only; one in memory goes with the process, however that ends.
    descriptor = os.memfd_create("dicomnode-frame")
    with os.fdopen(descriptor, "wb") as file:
        single.save_as(file, enforce_file_format=True)
        file.flush()
        image = SimpleITK.ReadImage(f"/proc/self/fd/{descriptor}", imageIO="GDCMImageIO")
    (frame,) = SimpleITK.GetArrayFromImage(image)
    plain: NDArray[np.generic] = frame
    return plain


def _single_frame(ds: pydicom.Dataset, index: int) -> pydicom.Dataset:
    """Return a data set of one frame and of nothing of the patient, its values not rescaled."""
    frames = int(ds.get("NumberOfFrames") or 1)
    encoded = get_frame(ds.PixelData, index, number_of_frames=frames)
    single = pydicom.Dataset()
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    single.SOPClassUID = CT_IMAGE
    single.SOPInstanceUID = ds.SOPInstanceUID
    for keyword in _DESCRIPTION:
        single[keyword] = ds[keyword]
    single.PixelData = encapsulate([encoded])
    return single
