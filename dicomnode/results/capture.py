"""Pictures -> secondary captures, for archives and viewers that show no SEG.  Drawing is elsewhere.

Secondary Capture Image (PS3.3 A.8.1), one instance a picture, or Multi-frame True Color Secondary
Capture Image (PS3.3 A.8.5), all in one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import UID

from dicomnode.config import ScConfig
from dicomnode.errors import ResultError
from dicomnode.model.findings import ModelIdentity
from dicomnode.results.evidence import RESEARCH_USE, ResultContext, result_uid
from dicomnode.results.source import (
    IDENTIFYING,
    complete,
    content_datetime,
    series_number,
    value_of,
)
from dicomnode.standard.sop_classes import (
    EXPLICIT_VR_LITTLE_ENDIAN,
    MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE,
    SECONDARY_CAPTURE,
)


def encode_captures(
    pictures: Sequence[NDArray[np.uint8]],
    *,
    evidence: Sequence[Dataset],
    context: ResultContext,
    models: tuple[ModelIdentity, ...],
    options: ScConfig | None = None,
) -> list[Dataset]:
    """Build the secondary captures of one series revision.

    Parameters
    ----------
    pictures : sequence of numpy.ndarray, shape (rows, columns, 3), dtype uint8
        RGB, all of one size, the summary page first.
    evidence : sequence of Dataset
        Headers of all source instances.
    context : ResultContext
    models : tuple of ModelIdentity
    options : ScConfig, optional
        One instance a picture, or all as frames of one.

    Returns
    -------
    list of Dataset
        Ready to be written, Explicit VR Little Endian, uncompressed: whatever shows pictures can
        show these.

    Raises
    ------
    ResultError
        If there is no picture or no evidence, or the pictures are not RGB of one size.
    """
    if not pictures or not evidence:
        raise ResultError(
            f"wanted pictures and evidence, found {len(pictures)} and {len(evidence)}"
        )
    if any(
        each.shape != pictures[0].shape or each.ndim != 3 or each.dtype != np.uint8
        for each in pictures
    ):
        raise ResultError(
            f"wanted RGB pictures of one size, found {sorted({p.shape for p in pictures})}"
        )
    form = (options or ScConfig()).form
    if form == "multi-frame":
        groups = [("sc-multi-frame", list(pictures))]
    else:
        groups = [(f"sc-{number}", [each]) for number, each in enumerate(pictures, start=1)]
    return [
        _encode(kind, frames, number, form, evidence, context, models)
        for number, (kind, frames) in enumerate(groups, start=1)
    ]


def _encode(
    kind: str,
    frames: Sequence[NDArray[np.uint8]],
    number: int,
    form: str,
    evidence: Sequence[Dataset],
    context: ResultContext,
    models: tuple[ModelIdentity, ...],
) -> Dataset:
    header = evidence[0]
    when = content_datetime(header, context)
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(EXPLICIT_VR_LITTLE_ENDIAN)
    is_multi_frame = form == "multi-frame"
    made.SOPClassUID = (
        MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE if is_multi_frame else SECONDARY_CAPTURE
    )
    made.SOPInstanceUID = result_uid(context, kind, models)
    made.StudyInstanceUID = str(value_of(header, "StudyInstanceUID"))
    made.SeriesInstanceUID = result_uid(context, f"sc-{form}-series", models)
    made.Modality = "OT"
    made.SeriesNumber = series_number(header, 3)
    made.SeriesDescription = "AI overlay pictures (research use only)"
    made.InstanceNumber = number
    made.PatientOrientation = ""
    made.Laterality = ""
    made.ConversionType = "WSD"
    made.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    made.ContentDate = when.strftime("%Y%m%d")
    made.ContentTime = when.strftime("%H%M%S.%f")
    made.DerivationDescription = "Segments drawn over the CT"
    made.ImageComments = RESEARCH_USE
    made.SourceImageSequence = [_reference(each) for each in evidence]
    made.BurnedInAnnotation = "NO"  # nothing that tells who the patient is is drawn
    made.LossyImageCompression = "00"
    made.Manufacturer = context.manufacturer
    made.ManufacturerModelName = context.manufacturer_model_name
    made.DeviceSerialNumber = context.device_serial_number
    made.SoftwareVersions = context.software_versions
    made.SamplesPerPixel = 3
    made.PhotometricInterpretation = "RGB"
    made.PlanarConfiguration = 0
    made.Rows, made.Columns = frames[0].shape[:2]
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit = 7
    made.PixelRepresentation = 0
    if is_multi_frame:
        made.NumberOfFrames = len(frames)
        # Frames are pages of a sheaf, not moments in time (PS3.3 C.8.6.4).
        made.PageNumberVector = list(range(1, len(frames) + 1))
        made.FrameIncrementPointer = Tag("PageNumberVector")
        made.RecognizableVisualFeatures = "NO"
    pixels = b"".join(frame.tobytes() for frame in frames)
    made.PixelData = pixels + b"\x00" * (len(pixels) % 2)
    made["PixelData"].VR = "OB"
    complete(made, header, context=context, models=models)
    return made


def _reference(header: Dataset) -> Dataset:
    item = Dataset()
    for keyword, source in zip(
        ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"), IDENTIFYING, strict=False
    ):
        setattr(item, keyword, str(value_of(header, source)))
    return item
