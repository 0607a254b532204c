"""A model for tests: air below -500 HU is segment 1 in the first half of a row, 2 in the rest."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Labels every voxel by its value and its column."""

    def execute(self, requests):
        """Answer each request with labels, shape (slices, rows, columns), dtype uint8."""
        responses = []
        for request in requests:
            volume = pb_utils.get_input_tensor_by_name(request, "VOLUME_HU").as_numpy()
            labels = (volume < -500).astype(np.uint8)
            labels[:, :, volume.shape[2] // 2 :] *= 2
            responses.append(
                pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("LABELS", labels)])
            )
        return responses
