"""Triton's door to the opacity burden: tensors in, tensors out.  The formula is in burden.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

# Triton loads this file by path; the module beside it is found like any other from here on.
sys.path.insert(0, str(Path(__file__).parent))

from burden import opacity_burden


class TritonPythonModel:
    """What Triton's Python backend looks for in this file."""

    @staticmethod
    def execute(requests: list[pb.InferenceRequest]) -> list[pb.InferenceResponse]:
        """Answer each request with the burden, or with an error that says what was wrong."""
        return [_answer(request) for request in requests]


def _answer(request: pb.InferenceRequest) -> pb.InferenceResponse:
    volume, spacing, labels = (
        pb.get_input_tensor_by_name(request, name).as_numpy()
        for name in ("VOLUME_HU", "SPACING_MM", "LABELS")
    )
    try:
        burden = opacity_burden(volume, [float(each) for each in spacing], labels)
    except ValueError as fault:
        return pb.InferenceResponse(error=pb.TritonError(str(fault), pb.TritonError.INVALID_ARG))
    return pb.InferenceResponse(
        output_tensors=[
            pb.Tensor("SCORES", np.array([burden.both], np.float32)),
            pb.Tensor("MEASUREMENTS", np.array(burden.as_tuple(), np.float32)),
        ]
    )
