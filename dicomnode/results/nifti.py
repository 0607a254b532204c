"""A label map as a NIfTI-1 file, for tools that read no SEG.  Its world is RAS millimeters."""

from __future__ import annotations

import gzip
import struct
from typing import Final

import numpy as np

from dicomnode.model.findings import LabelMap

_HEADER_BYTES: Final = 348
_DATA_OFFSET: Final = 352.0
_UINT8: Final = 2
_MILLIMETERS: Final = 2
_SCANNER: Final = 1
"""Code of coordinates that are the scanner's (NIFTI_XFORM_SCANNER_ANAT)."""

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])


def encode_label_map(label_map: LabelMap) -> bytes:
    """Encode a label map as a compressed single-file NIfTI-1 image (``.nii.gz``).

    Parameters
    ----------
    label_map : LabelMap
        Labels of shape (slices, rows, columns), dtype uint8; the affine maps (column, row, slice)
        to LPS millimeters.

    Returns
    -------
    bytes
        The same label map gives the same bytes.
    """
    labels = np.ascontiguousarray(label_map.labels, dtype=np.uint8)
    slices, rows, columns = labels.shape
    affine = _LPS_TO_RAS @ np.asarray(label_map.geometry.affine_ijk_to_lps, dtype=np.float64)
    spacing_ijk_mm = np.linalg.norm(affine[:3, :3], axis=0)
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _UINT8, 8)
    struct.pack_into("<8f", header, 76, 1.0, *spacing_ijk_mm, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _DATA_OFFSET, 1.0, 0.0)
    struct.pack_into("<B", header, 123, _MILLIMETERS)
    # Only the affine counts (sform); a quaternion could not hold a sheared grid.
    struct.pack_into("<2h", header, 252, 0, _SCANNER)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    # In memory columns run fastest already, as the format has them; mtime 0 keeps bytes the same.
    return gzip.compress(bytes(header) + b"\0" * 4 + labels.tobytes(), compresslevel=3, mtime=0)
