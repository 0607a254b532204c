"""SOP classes and transfer syntaxes the node knows, as tables."""

from __future__ import annotations

from typing import Final

VERIFICATION: Final = "1.2.840.10008.1.1"

STORAGE_COMMITMENT_PUSH: Final = "1.2.840.10008.1.20.1"
STORAGE_COMMITMENT_PUSH_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""Well-known instance that every request of the push model names (PS3.4 J.3.5)."""

CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2.1"
LEGACY_CONVERTED_ENHANCED_CT_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.2.2"

CT_SOP_CLASSES: Final = (CT_IMAGE, ENHANCED_CT_IMAGE, LEGACY_CONVERTED_ENHANCED_CT_IMAGE)
"""What can become a volume (PS3.3 A.3, A.38, A.70)."""

RETIRED_STORAGE: Final = (
    "1.2.840.10008.5.1.1.27",  # Stored Print
    "1.2.840.10008.5.1.1.29",  # Hardcopy Grayscale Image
    "1.2.840.10008.5.1.1.30",  # Hardcopy Color Image
    "1.2.840.10008.5.1.4.1.1.3",  # Ultrasound Multi-frame Image
    "1.2.840.10008.5.1.4.1.1.5",  # Nuclear Medicine Image
    "1.2.840.10008.5.1.4.1.1.6",  # Ultrasound Image
    "1.2.840.10008.5.1.4.1.1.8",  # Standalone Overlay
    "1.2.840.10008.5.1.4.1.1.9",  # Standalone Curve
    "1.2.840.10008.5.1.4.1.1.9.1",  # Waveform - Trial
    "1.2.840.10008.5.1.4.1.1.10",  # Standalone Modality LUT
    "1.2.840.10008.5.1.4.1.1.11",  # Standalone VOI LUT
    "1.2.840.10008.5.1.4.1.1.12.3",  # X-Ray Angiographic Bi-Plane Image
    "1.2.840.10008.5.1.4.1.1.77.1",  # VL Image - Trial
    "1.2.840.10008.5.1.4.1.1.77.2",  # VL Multi-frame Image - Trial
    "1.2.840.10008.5.1.4.1.1.88.1",  # Text SR - Trial
    "1.2.840.10008.5.1.4.1.1.88.2",  # Audio SR - Trial
    "1.2.840.10008.5.1.4.1.1.88.3",  # Detail SR - Trial
    "1.2.840.10008.5.1.4.1.1.88.4",  # Comprehensive SR - Trial
    "1.2.840.10008.5.1.4.1.1.129",  # Standalone PET Curve
)
"""Storage classes of earlier editions: in archives, and sent with whole studies still."""

STUDY_ROOT_FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"

SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP_SEGMENTATION: Final = "1.2.840.10008.5.1.4.1.1.66.7"
SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
MULTI_FRAME_TRUE_COLOR_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7.4"
COMPREHENSIVE_3D_SR: Final = "1.2.840.10008.5.1.4.1.1.88.34"
COMPREHENSIVE_SR: Final = "1.2.840.10008.5.1.4.1.1.88.33"
ENHANCED_SR: Final = "1.2.840.10008.5.1.4.1.1.88.22"

IMPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2"
EXPLICIT_VR_LITTLE_ENDIAN: Final = "1.2.840.10008.1.2.1"

UNCOMPRESSED_TRANSFER_SYNTAXES: Final = (EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN)
"""What services without images are proposed and accepted in, by preference."""

CT_TRANSFER_SYNTAXES: Final = (
    EXPLICIT_VR_LITTLE_ENDIAN,
    IMPLICIT_VR_LITTLE_ENDIAN,
    "1.2.840.10008.1.2.2",  # Explicit VR Big Endian (retired, still sent)
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline (Process 1)
    "1.2.840.10008.1.2.4.51",  # JPEG Extended (Process 2 and 4)
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless (Process 14)
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless (Process 14, Selection Value 1)
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Lossy (Near-Lossless)
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 (Lossless Only)
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K (Lossless Only)
    "1.2.840.10008.1.2.4.202",  # HTJ2K with RPCL Options (Lossless Only)
    "1.2.840.10008.1.2.4.203",  # HTJ2K
)
"""What CT is sent in and this node can decode (PS3.5 10, A)."""

SEG_TRANSFER_SYNTAXES: Final = {
    "none": EXPLICIT_VR_LITTLE_ENDIAN,
    "deflate": "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "rle": "1.2.840.10008.1.2.5",  # RLE Lossless
    "jpeg-ls": "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "jpeg-2000": "1.2.840.10008.1.2.4.90",  # JPEG 2000 (Lossless Only)
}
"""What segmentations can be written in, by the name that destinations ask for it."""
