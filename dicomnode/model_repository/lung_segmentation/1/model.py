"""Triton's door to the lung segmentation: tensors in, tensors out.  The method is in lungs.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb
from numpy.typing import NDArray

# Triton loads this file by path; the modules beside it are found like any other from here on.
sys.path.insert(0, str(Path(__file__).parent))

from lungs import segment_lungs


class TritonPythonModel:
    """What Triton's Python backend looks for in this file."""

    def __init__(self) -> None:
        # Kept from request to request: memory for a whole volume costs more to have than to fill.
        self._kept = np.zeros(0, np.uint8)

    def execute(self, requests: list[pb.InferenceRequest]) -> list[pb.InferenceResponse]:
        """Answer each request with a label map, or with an error that says what was wrong."""
        # Answers are copied when all have been given: of several, one alone may use what is kept.
        is_alone = len(requests) == 1
        return [self._answer(request, is_alone=is_alone) for request in requests]

    def _room(self, shape: tuple[int, ...], *, is_alone: bool) -> NDArray[np.uint8]:
        """Return an empty label map."""
        size = int(np.prod(shape, dtype=np.int64))
        if not is_alone:
            return np.zeros(shape, np.uint8)
        if self._kept.size < size:
            self._kept = np.zeros(size, np.uint8)
        else:
            self._kept[:size] = 0
        return self._kept[:size].reshape(shape)

    def _answer(self, request: pb.InferenceRequest, *, is_alone: bool) -> pb.InferenceResponse:
        volume = pb.get_input_tensor_by_name(request, "VOLUME_HU").as_numpy()
        spacing = pb.get_input_tensor_by_name(request, "SPACING_MM").as_numpy()
        try:
            labels = segment_lungs(
                volume,
                [float(each) for each in spacing],
                self._room(volume.shape, is_alone=is_alone),
            )
        except ValueError as fault:
            return pb.InferenceResponse(
                error=pb.TritonError(str(fault), pb.TritonError.INVALID_ARG)
            )
        return pb.InferenceResponse(
            output_tensors=[pb.Tensor("LABELS", np.ascontiguousarray(labels))]
        )
