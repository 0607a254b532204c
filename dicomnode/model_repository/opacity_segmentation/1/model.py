"""Triton's door to the opacity map: tensors in, tensors out.  The formula is opacity_burden's."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

# One formula for the map and for the burden, so that they cannot differ: the model beside this one.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "opacity_burden" / "1"))

from burden import opacity_map


class TritonPythonModel:
    """What Triton's Python backend looks for in this file."""

    @staticmethod
    def execute(requests: list[pb.InferenceRequest]) -> list[pb.InferenceResponse]:
        """Answer each request with a label map, or with an error that says what was wrong."""
        return [_answer(request) for request in requests]


def _answer(request: pb.InferenceRequest) -> pb.InferenceResponse:
    volume, spacing, labels = (
        pb.get_input_tensor_by_name(request, name).as_numpy()
        for name in ("VOLUME_HU", "SPACING_MM", "LABELS")
    )
    try:
        found = opacity_map(volume, [float(each) for each in spacing], labels)
    except ValueError as fault:
        return pb.InferenceResponse(error=pb.TritonError(str(fault), pb.TritonError.INVALID_ARG))
    return pb.InferenceResponse(
        output_tensors=[pb.Tensor("OPACITIES", np.ascontiguousarray(found))]
    )
