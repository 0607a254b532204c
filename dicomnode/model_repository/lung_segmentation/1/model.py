"""Triton's door to the lung segmentation: tensors in, tensors out.  The method is in lungs.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb

# Triton loads this file by path; the modules beside it are found like any other from here on.
sys.path.insert(0, str(Path(__file__).parent))

from lungs import segment_lungs


class TritonPythonModel:
    """What Triton's Python backend looks for in this file."""

    @staticmethod
    def execute(requests: list[pb.InferenceRequest]) -> list[pb.InferenceResponse]:
        """Answer each request with a label map, or with an error that says what was wrong."""
        return [_answer(request) for request in requests]


def _answer(request: pb.InferenceRequest) -> pb.InferenceResponse:
    volume = pb.get_input_tensor_by_name(request, "VOLUME_HU").as_numpy()
    spacing = pb.get_input_tensor_by_name(request, "SPACING_MM").as_numpy()
    try:
        labels = segment_lungs(volume, [float(each) for each in spacing])
    except ValueError as fault:
        return pb.InferenceResponse(error=pb.TritonError(str(fault), pb.TritonError.INVALID_ARG))
    return pb.InferenceResponse(output_tensors=[pb.Tensor("LABELS", np.ascontiguousarray(labels))])
