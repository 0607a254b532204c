"""A model that indexes volumes (X, Y, Z), as image libraries do, and labels them so."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Label 1 for what is bright, 2 for the voxel at X 3, Y 2, Z 1."""

    def execute(self, requests):
        """Answer each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        volume = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()
        labels = (volume > 0).astype(np.uint8)
        labels[3, 2, 1] = 2
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("OUT", labels)])
