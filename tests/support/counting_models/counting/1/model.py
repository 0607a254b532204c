"""A model for tests that writes down when each call begins and ends, in the folder COUNTING_FOLDER.

A call takes as many seconds as the file ``seconds`` there says, and ends when ``release`` appears.
"""

import os
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

FOLDER = Path(os.environ["COUNTING_FOLDER"])


def note(word):
    """Append a line, whole."""
    descriptor = os.open(FOLDER / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{time.time():.3f} {word}\n".encode())
    os.close(descriptor)


class TritonPythonModel:
    """Labels air by its column, after a while."""

    def execute(self, requests):
        """Answer each request with labels, shape (slices, rows, columns), dtype uint8."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        note("begin")
        end = time.monotonic() + float((FOLDER / "seconds").read_text())
        pause = threading.Event()
        while time.monotonic() < end and not (FOLDER / "release").exists():
            pause.wait(0.02)
        volume = pb_utils.get_input_tensor_by_name(request, "VOLUME_HU").as_numpy()
        labels = (volume < -500).astype(np.uint8)
        labels[:, :, volume.shape[2] // 2 :] *= 2
        note("end")
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("LABELS", labels)])
