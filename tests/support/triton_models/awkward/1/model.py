"""A model for tests that goes wrong as the first voxel tells it to."""

import os
import threading

import numpy as np
import triton_python_backend_utils as pb_utils

RAISE, DIE, STALL, SHORT, LARGE, UNKNOWN_LABEL = range(1, 7)


class TritonPythonModel:
    """Raises, dies, stalls, or answers with the wrong shape or labels."""

    def execute(self, requests):
        """Answer each request, or not."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        volume = pb_utils.get_input_tensor_by_name(request, "VOLUME_HU").as_numpy()
        labels = np.zeros(volume.shape, np.uint8)
        order = int(volume.flat[0])
        if order == RAISE:
            raise ValueError("told to raise")
        if order == DIE:
            os._exit(3)
        if order == STALL:
            threading.Event().wait(float(volume.flat[1]) / 10)
        if order == SHORT:
            labels = labels[1:]
        if order == LARGE:
            labels = np.repeat(labels, 2, axis=0)
        if order == UNKNOWN_LABEL:
            labels[-1, -1, -1] = 9
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("LABELS", labels)])
