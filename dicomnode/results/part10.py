"""A result data set as the bytes of a Part 10 file.  Storing them is the spool's."""

from __future__ import annotations

import io

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID

from dicomnode.standard.sop_classes import EXPLICIT_VR_LITTLE_ENDIAN
from dicomnode.standard.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


def encode_part10(data_set: Dataset) -> bytes:
    """Encode a data set as a DICOM file (PS3.10 7), Explicit VR Little Endian unless it says so.

    The file meta information is made here, so that the same data set gives the same bytes.
    """
    known = getattr(data_set, "file_meta", FileMetaDataset())
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = data_set.SOPClassUID
    meta.MediaStorageSOPInstanceUID = data_set.SOPInstanceUID
    meta.TransferSyntaxUID = known.get("TransferSyntaxUID", UID(EXPLICIT_VR_LITTLE_ENDIAN))
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    data_set.file_meta = meta
    buffer = io.BytesIO()
    dcmwrite(buffer, data_set, enforce_file_format=True)
    return buffer.getvalue()
