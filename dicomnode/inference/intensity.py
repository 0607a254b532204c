"""Numbers a network reads out of Hounsfield units, and probabilities out of what it gives."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.inference.schema.preparation import Intensity

_INTEGERS: dict[str, Any] = {"INT16": np.int16, "UINT8": np.uint8}
_FLOATS: dict[str, Any] = {"FP32": np.float32, "FP16": np.float16}


def scale(values_hu: NDArray[np.float32], intensity: Intensity | None) -> NDArray[np.float32]:
    """Clip and rescale, in place.

    Parameters
    ----------
    values_hu : numpy.ndarray, dtype float32
        Overwritten.
    intensity : Intensity or None
        None leaves the values as they are.
    """
    if intensity is None:
        return values_hu
    if intensity.clip_hu is not None:
        np.clip(values_hu, *intensity.clip_hu, out=values_hu)
    span = intensity.from_hu or intensity.clip_hu
    if span is not None:
        low, high = span
        first, last = intensity.to
        values_hu -= low
        values_hu *= (last - first) / (high - low)
        values_hu += first
    return values_hu


def to_dtype(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Return the values in a tensor's dtype; integers are rounded and saturate."""
    if dtype in _FLOATS:
        return values.astype(_FLOATS[dtype], copy=False)
    kind = _INTEGERS[dtype]
    bounds = np.iinfo(kind)
    rounded: NDArray[Any] = np.clip(np.rint(values), bounds.min, bounds.max).astype(kind)
    return rounded


def activate(values: NDArray[Any], activation: str, *, axis: int) -> NDArray[np.float32]:
    """Make probabilities of what a network gives.

    Parameters
    ----------
    values : numpy.ndarray
    activation : str
        ``softmax`` along `axis`, ``sigmoid`` or ``none``.
    axis : int
        Of the classes.
    """
    given: NDArray[np.float32] = values.astype(np.float32, copy=False)
    if activation == "softmax":
        raised: NDArray[np.float32] = np.exp(given - given.max(axis=axis, keepdims=True))
        raised /= raised.sum(axis=axis, keepdims=True)
        return raised
    if activation == "sigmoid":
        # The logistic function by tanh, which does not overflow.
        half: NDArray[np.float32] = np.tanh(0.5 * given)
        half += 1.0
        half *= 0.5
        return half
    return given
