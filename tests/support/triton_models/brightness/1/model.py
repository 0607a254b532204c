"""A model for tests: how much of the labeled part is above 0 HU, and its volume."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Gives a share in percent (NaN where nothing is labeled) and milliliters."""

    def execute(self, requests):
        """Answer each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        volume, spacing, labels = (
            pb_utils.get_input_tensor_by_name(request, name).as_numpy()
            for name in ("VOLUME_HU", "SPACING_MM", "LABELS")
        )
        inside = volume[labels > 0]
        share = 100 * np.count_nonzero(inside > 0) / inside.size if inside.size else np.nan
        milliliters = inside.size * float(np.prod(spacing)) / 1000
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor("SCORES", np.array([share], np.float32)),
                pb_utils.Tensor("MEASUREMENTS", np.array([milliliters], np.float32)),
            ]
        )
