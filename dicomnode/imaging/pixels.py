"""Pixel data of one slice into Hounsfield units: reading, decoding, and what stored bits mean.

Uncompressed pixels are read straight into the caller's array, all others decoded by pydicom's
plugins or ITK.  Nothing here knows of volumes.  Native decoders are called from `_decode` alone.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGExtended12Bit,
    RLELossless,
)

from dicomnode.errors import PixelsUnreadable
from dicomnode.imaging.jpeg_extended import decode_frame
from dicomnode.imaging.slices import Slice, StoredPixels
from dicomnode.standard.sop_classes import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

PADDED_HU: Final = -1024
"""What padded pixels become: air, at the usual lower end of the CT scale.

Scanners pad outside the circle of reconstruction with values down to -3024 HU, which is no
radiodensity (PS3.3 C.7.5.1.1.2: padding is not part of the image), and models are trained on
volumes in which it is air.
"""

_INT16: Final = np.iinfo(np.int16)
_MASKABLE: Final = (
    IMPLICIT_VR_LITTLE_ENDIAN,
    EXPLICIT_VR_LITTLE_ENDIAN,
    str(ExplicitVRBigEndian),
    str(DeflatedExplicitVRLittleEndian),
    str(RLELossless),
)
"""Encodings that keep the bits above High Bit; image codecs have none to keep."""


def read_hu(image: Slice, out_hu: NDArray[np.int16]) -> None:
    """Fill `out_hu` with the Hounsfield units of one slice.

    Parameters
    ----------
    image : Slice
    out_hu : numpy.ndarray, shape (rows, columns), dtype int16
        C-contiguous.  Values are rounded, and clipped to what int16 holds.

    Raises
    ------
    PixelsUnreadable
        If the file is gone or short, or the pixels cannot be decoded.
    """
    if image.pixels_offset is None or image.stored.bits_allocated != 16:
        decoded = _decode(image)
        stored = image.stored
        if decoded.itemsize == 1:
            _rescale_by_table(decoded.view(np.uint8), stored, out_hu)
            return
        np.copyto(out_hu, decoded.view(np.int16))
    else:
        _read(image, out_hu)
    _to_hu(out_hu, image.stored, has_spare_bits=image.transfer_syntax_uid in _MASKABLE)


def _read(image: Slice, out: NDArray[np.int16]) -> None:
    """Read native 16-bit pixels into `out`, in the machine's byte order."""
    assert image.pixels_offset is not None  # noqa: S101 - the caller's branch, for the type checker
    try:
        with image.path.open("rb", buffering=0) as file:
            file.seek(image.pixels_offset)
            found = 0
            room = out.data.cast("B")
            while found < out.nbytes and (count := file.readinto(room[found:])):
                found += count
    except OSError as error:
        raise PixelsUnreadable(f"{image.label}: pixels cannot be read: {error.strerror}") from error
    if found < out.nbytes:
        raise PixelsUnreadable(
            f"{image.label}: wanted {out.nbytes} bytes of Pixel Data, found {found}"
        )
    is_big = image.transfer_syntax_uid == ExplicitVRBigEndian
    if is_big != (np.dtype(np.int16).newbyteorder("=") == np.dtype(">i2")):
        out.byteswap(inplace=True)


def _decode(image: Slice) -> NDArray[np.generic]:
    """Decode one frame to stored values, shape (rows, columns), 1 or 2 bytes each."""
    try:
        ds = _read_whole(image)
        index = (image.frame_number or 1) - 1
        if image.transfer_syntax_uid == JPEGExtended12Bit and image.stored.bits_stored > 8:
            array = decode_frame(ds, index)
        else:
            array, _ = get_decoder(image.transfer_syntax_uid).as_array(ds, index=index, raw=True)
    except Exception as error:  # noqa: BLE001 - decoders of hostile pixels raise nearly anything
        raise PixelsUnreadable(
            f"{image.label}: pixels in transfer syntax {image.transfer_syntax_uid} "
            f"cannot be decoded: {type(error).__name__}"
        ) from None
    if array.shape != (image.rows, image.columns) or array.dtype.itemsize > 2:
        raise PixelsUnreadable(
            f"{image.label}: wanted {image.rows} x {image.columns} pixels of at most 16 bits, "
            f"found shape {array.shape}, dtype {array.dtype}"
        )
    plain: NDArray[np.generic] = np.ascontiguousarray(array, array.dtype.newbyteorder("="))
    return plain


def _read_whole(image: Slice) -> pydicom.Dataset:
    """Read a file with its pixels; that of a multi-frame instance is kept for the next frame."""
    if image.frame_number is None:
        return pydicom.dcmread(image.path, force=True)
    return _kept(image.path, image.path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _kept(path: Path, _changed_ns: int) -> pydicom.Dataset:
    return pydicom.dcmread(path, force=True)


def _to_hu(out: NDArray[np.int16], stored: StoredPixels, *, has_spare_bits: bool) -> None:
    """Turn stored 16-bit values into Hounsfield units, in place."""
    lowest, highest = _padding_bounds(stored)
    unsigned = out.view(np.uint16)
    padded = None
    if stored.padding is not None and not stored.is_signed:
        # Before masking: padding may be written with bits above those stored.
        padded = _within(unsigned, lowest, highest)
    spare = 15 - stored.high_bit
    if has_spare_bits and stored.bits_stored < 16:
        # Bits beyond High Bit may hold overlays (PS3.5 8.1.1 of former editions) or a sign.
        unsigned <<= spare
        values = out if stored.is_signed else unsigned
        values >>= 16 - stored.bits_stored
    values = out if stored.is_signed else unsigned
    if stored.padding is not None:
        found = _within(values, lowest, highest)
        padded = found if padded is None else found | padded
    slope, intercept = stored.rescale_slope, stored.rescale_intercept
    ends = (float(values.min()) + intercept, float(values.max()) + intercept)
    if slope == 1 and intercept == int(intercept) and _fits(ends):
        # Modulo 2^16 the sum is right in either signedness, as its true value fits.
        unsigned += np.uint16(int(intercept) % 65536)
    else:
        np.copyto(out, _rounded(values * slope + intercept))
    if padded is not None:
        np.copyto(out, np.int16(PADDED_HU), where=padded)


def _rescale_by_table(
    values: NDArray[np.uint8], stored: StoredPixels, out: NDArray[np.int16]
) -> None:
    """Look up the Hounsfield units of 8-bit stored values."""
    table = np.arange(256, dtype=np.uint8)
    kept: NDArray[np.int64] = (table >> np.uint8(stored.high_bit + 1 - stored.bits_stored)).astype(
        np.int64
    ) & ((1 << stored.bits_stored) - 1)
    if stored.is_signed:
        kept = np.where(
            kept >= 1 << (stored.bits_stored - 1), kept - (1 << stored.bits_stored), kept
        )
    hu = _rounded(kept * stored.rescale_slope + stored.rescale_intercept)
    if stored.padding is not None:
        lowest, highest = sorted(stored.padding)
        hu[(kept >= lowest) & (kept <= highest)] = PADDED_HU
    np.take(hu, values, out=out)


def _padding_bounds(stored: StoredPixels) -> tuple[int, int]:
    """Return lowest and highest padding value, read in the signedness of the pixels.

    GE writes 63536 for -2000, and the reverse is seen too: the bits decide, not the sign.
    """
    bounds = np.array([each % 65536 for each in stored.padding or (0, 0)], dtype=np.uint16)
    low, high = sorted(int(each) for each in bounds.view(_kind(stored)))
    return low, high


def _kind(stored: StoredPixels) -> type[np.int16 | np.uint16]:
    return np.int16 if stored.is_signed else np.uint16


def _within(
    values: NDArray[np.int16] | NDArray[np.uint16], lowest: int, highest: int
) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_]
    inside = values == lowest if lowest == highest else (values >= lowest) & (values <= highest)
    return inside


def _fits(ends_hu: tuple[float, float]) -> bool:
    return _INT16.min <= ends_hu[0] and ends_hu[1] <= _INT16.max


def _rounded(values_hu: NDArray[np.float64]) -> NDArray[np.int16]:
    rounded: NDArray[np.int16] = np.rint(values_hu).clip(_INT16.min, _INT16.max).astype(np.int16)
    return rounded
