"""Triton's door to the opacity map: tensors in, tensors out.  The formula is opacity_burden's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb
from numpy.typing import NDArray

# One formula for the map and for the burden, so that they cannot differ: the model beside this one.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "opacity_burden" / "1"))

from burden import opacity_map


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
        volume, spacing, labels = (
            pb.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("VOLUME_HU", "SPACING_MM", "LABELS")
        )
        try:
            found = opacity_map(
                volume,
                [float(each) for each in spacing],
                labels,
                self._room(volume.shape, is_alone=is_alone),
            )
        except ValueError as fault:
            return pb.InferenceResponse(
                error=pb.TritonError(str(fault), pb.TritonError.INVALID_ARG)
            )
        return pb.InferenceResponse(
            output_tensors=[pb.Tensor("OPACITIES", np.ascontiguousarray(found))]
        )
