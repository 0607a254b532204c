"""Volumes and label maps as NIfTI-1 files, for tools that read no DICOM.  Their world is RAS mm."""

from __future__ import annotations

import struct
import zlib
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.model.findings import LabelMap
from dicomnode.model.volume import VolumeGeometry

_HEADER_BYTES: Final = 348
_DATA_OFFSET: Final = 352.0
_TYPES: Final = {np.dtype(np.uint8): (2, 8), np.dtype(np.int16): (4, 16)}
"""Number and bits of the types of voxels."""
_MILLIMETERS: Final = 2
_SCANNER: Final = 1
"""Code of coordinates that are the scanner's (NIFTI_XFORM_SCANNER_ANAT)."""

_GZIP: Final = 16 + zlib.MAX_WBITS
"""Asks zlib for gzip's header and trailer."""

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
    return _encode(label_map.labels.astype(np.uint8, copy=False), label_map.geometry, level=3)


def encode_volume(voxels_hu: NDArray[np.int16], geometry: VolumeGeometry) -> bytes:
    """Encode a volume as a compressed single-file NIfTI-1 image (``.nii.gz``).

    Parameters
    ----------
    voxels_hu : numpy.ndarray, shape (slices, rows, columns), dtype int16
        Hounsfield units.
    geometry : VolumeGeometry
        Of evenly spaced slices: the format knows no others.

    Returns
    -------
    bytes
        The same volume gives the same bytes.

    Raises
    ------
    ValueError
        If the slices are uneven.
    """
    if geometry.slice_places is not None:
        raise ValueError("wanted evenly spaced slices for NIfTI, found uneven ones")
    # The noise of a CT hardly compresses: more effort takes long and saves little.
    return _encode(voxels_hu.astype("<i2", copy=False), geometry, level=1)


def _encode(voxels: NDArray[Any], geometry: VolumeGeometry, *, level: int) -> bytes:
    slices, rows, columns = voxels.shape
    affine = _LPS_TO_RAS @ np.asarray(geometry.affine_ijk_to_lps, dtype=np.float64)
    spacing_ijk_mm = np.linalg.norm(affine[:3, :3], axis=0)
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, *_TYPES[voxels.dtype])
    struct.pack_into("<8f", header, 76, 1.0, *spacing_ijk_mm, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _DATA_OFFSET, 1.0, 0.0)
    struct.pack_into("<B", header, 123, _MILLIMETERS)
    # Only the affine counts (sform); a quaternion could not hold a sheared grid.
    struct.pack_into("<2h", header, 252, 0, _SCANNER)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    struct.pack_into("<4s", header, 344, b"n+1\0")
    # In memory columns run fastest already, as the format has them.  Slice by slice, as a copy of a
    # whole CT is large; the same voxels give the same bytes: no time of day is written.
    packer = zlib.compressobj(level, zlib.DEFLATED, _GZIP)
    parts = [packer.compress(bytes(header) + b"\0" * 4)]
    parts += [packer.compress(np.ascontiguousarray(plane).data) for plane in voxels]
    parts.append(packer.flush())
    return b"".join(parts)
