"""A stand-in with the shapes of NVIDIA's lung model: two logits a voxel, told by its value alone.

The logit of class 1 is above that of class 0 where the scaled value is below `EDGE`.
"""

import json

import numpy as np
import triton_python_backend_utils as pb_utils

EDGE = 0.5
SIGN = 1


class TritonPythonModel:
    """Refuses every other shape, as a graph with fixed shapes does."""

    def initialize(self, args):
        """Read the names and shapes that the configuration gives."""
        self.config = json.loads(args["model_config"])

    def execute(self, requests):
        """Answer each request with shape (N, 2, 224, 224, 32), dtype float32."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        name = self.config["input"][0]["name"]
        values = pb_utils.get_input_tensor_by_name(request, name).as_numpy()
        if values.dtype != np.float32 or values.shape[1:] != (1, 224, 224, 32):
            raise ValueError(f"wanted FP32[N, 1, 224, 224, 32], found {values.shape}")
        logits = np.zeros((len(values), 2, 224, 224, 32), np.float32)
        logits[:, 1] = SIGN * 20 * (EDGE - values[:, 0])
        tensor = pb_utils.Tensor(self.config["output"][0]["name"], logits)
        return pb_utils.InferenceResponse(output_tensors=[tensor])
