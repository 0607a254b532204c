"""A stand-in with the shapes of NVIDIA's COVID model: a sum that weighs every voxel differently.

Any flip, swap or shift of axes, another crop or another scaling gives another score.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

TWO_CLASSES = False


class TritonPythonModel:
    """Refuses every other shape, as a graph with fixed shapes does."""

    def initialize(self, args):
        """Read the names that the configuration gives."""
        self.config = json.loads(args["model_config"])

    def execute(self, requests):
        """Answer each request with one logit."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        name = self.config["input"][0]["name"]
        values = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
        if values.dtype != np.float32 or values.shape != (1, 1, 192, 192, 64):
            raise ValueError(f"wanted FP32[1, 1, 192, 192, 64], found {values.shape}")
        x, y, z = np.arange(192) / 191, np.arange(192) / 191, np.arange(64) / 63
        logit = 40 * np.einsum("xyz,x,y,z", values[0, 0].astype(np.float64), x**2, y, z**3)
        logit = logit / values[0, 0].size - 0.4
        score = 1 / (1 + np.exp(-logit))
        answer = [[1 - score, score]] if TWO_CLASSES else [[logit]]
        tensor = pb_utils.Tensor(
            self.config["output"][0]["name"], np.array(answer, dtype=np.float32)
        )
        return pb_utils.InferenceResponse(output_tensors=[tensor])
