"""NIfTI-1 files in memory, for models that take one as bytes and answer with another.

Only what those need: one three-dimensional volume, orientation by the sform, millimeters.  Layout
after the NIfTI-1.1 header (nifti1.h): 348 bytes, voxels from byte 352, first axis fastest.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

_HEADER_BYTES: Final = 348
_VOXELS_FROM: Final = 352
_MILLIMETERS: Final = 2
_SCANNER_SPACE: Final = 1
_DTYPES: Final[dict[int, Any]] = {
    2: np.uint8,
    4: np.int16,
    8: np.int32,
    16: np.float32,
    64: np.float64,
    256: np.int8,
    512: np.uint16,
    768: np.uint32,
}
"""NIfTI's numbers for the types of voxels."""

_LPS_TO_RAS: Final = np.diag([-1.0, -1.0, 1.0, 1.0])

# A header may promise more than a volume can hold; larger than this nothing is unpacked.
_MOST_BYTES: Final = 1 << 32


def encode_nifti(
    voxels: NDArray[np.int16], affine_ijk_to_lps: NDArray[np.float64], *, compress: bool
) -> bytes:
    """Write a volume as a NIfTI file.

    Parameters
    ----------
    voxels : numpy.ndarray, shape (slices, rows, columns), dtype int16
    affine_ijk_to_lps : numpy.ndarray, shape (4, 4)
        Maps (column, row, slice, 1) to LPS millimeters; NIfTI's own space is RAS.
    compress : bool
        Whether with gzip; the same volume then gives the same bytes.
    """
    affine = _LPS_TO_RAS @ affine_ijk_to_lps
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    slices, rows, columns = voxels.shape
    header = bytearray(_VOXELS_FROM)
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1.0, *spacing, 1.0, 1.0, 1.0, 1.0)
    struct.pack_into("<3f", header, 108, float(_VOXELS_FROM), 1.0, 0.0)
    header[123] = _MILLIMETERS
    struct.pack_into("<2h", header, 252, 0, _SCANNER_SPACE)
    struct.pack_into("<12f", header, 280, *affine[:3].ravel())
    header[344:348] = b"n+1\0"
    # Its axes run first fastest: exactly our (slice, row, column) in C order.
    content = bytes(header) + np.ascontiguousarray(voxels, dtype="<i2").tobytes()
    return gzip.compress(content, compresslevel=1, mtime=0) if compress else content


def decode_nifti(content: bytes) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    """Read a NIfTI file, compressed or not.

    Returns
    -------
    tuple
        Voxels, shape (slices, rows, columns), scaled where the header says so; and the affine,
        shape (4, 4), that maps (column, row, slice, 1) to LPS millimeters.

    Raises
    ------
    ValueError
        If it is no NIfTI-1 file, has not three axes, or has no sform.
    """
    if content[:2] == b"\x1f\x8b":
        content = _unpack(content)
    if len(content) < _VOXELS_FROM or content[344:348] != b"n+1\0":
        raise ValueError("wanted a NIfTI-1 file, found something else")
    order: Literal["<", ">"] = (
        "<" if struct.unpack_from("<i", content, 0)[0] == _HEADER_BYTES else ">"
    )
    axes, *lengths = struct.unpack_from(f"{order}8h", content, 40)
    if not 3 <= axes <= 7 or min(lengths[:3]) < 1 or any(n > 1 for n in lengths[3:axes]):
        raise ValueError(f"wanted a NIfTI volume of three axes, found {lengths[: max(axes, 0)]}")
    number = struct.unpack_from(f"{order}h", content, 70)[0]
    if number not in _DTYPES:
        raise ValueError(f"wanted NIfTI voxels of a real type, found type {number}")
    first, slope, intercept = struct.unpack_from(f"{order}3f", content, 108)
    if not _VOXELS_FROM <= first <= len(content):
        raise ValueError(f"wanted NIfTI voxels from byte {_VOXELS_FROM} on, found {first}")
    if struct.unpack_from(f"{order}h", content, 254)[0] <= 0:
        raise ValueError("wanted a NIfTI file with an sform, found none")
    columns, rows, slices = lengths[:3]
    dtype = np.dtype(_DTYPES[number]).newbyteorder(order)
    count = columns * rows * slices
    start = int(first)
    if len(content) < start + count * dtype.itemsize:
        raise ValueError(f"wanted {count} NIfTI voxels, found {len(content)} bytes in all")
    voxels: NDArray[Any] = np.frombuffer(content, dtype, count, start)
    voxels = voxels.reshape(slices, rows, columns)
    if slope not in (0.0, 1.0) or (slope and intercept):
        voxels = voxels * slope + intercept
    affine = np.eye(4)
    affine[:3] = np.reshape(struct.unpack_from(f"{order}12f", content, 280), (3, 4))
    return voxels, _LPS_TO_RAS @ affine


def _unpack(content: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(content, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError("wanted a compressed NIfTI file, found damaged bytes") from error
    if not unpacker.eof:
        raise ValueError("wanted a compressed NIfTI file, found an incomplete or oversized one")
    return unpacked
