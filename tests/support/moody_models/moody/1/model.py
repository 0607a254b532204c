"""A model for tests that behaves as a file says, and writes into another what it did.

The folder of both is named by MOODY_FOLDER.
"""

import os
import resource
import threading
import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

FOLDER = Path(os.environ["MOODY_FOLDER"])


def note(word):
    """Append a line, whole."""
    descriptor = os.open(FOLDER / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{word}\n".encode())
    os.close(descriptor)


class TritonPythonModel:
    """Probability 1 for what is denser than 0 HU, if it is in the mood."""

    def execute(self, requests):
        """Answer each request, or not."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        mood, _, seconds = (FOLDER / "mood").read_text().partition(" ")
        note(f"asked {mood}")
        volume = pb_utils.get_input_tensor_by_name(request, "VOLUME").as_numpy()
        if mood == "raise":
            raise ValueError("told to raise")
        if mood == "memory":
            fill_memory()
        if mood == "stall" and was_cancelled(request, float(seconds)):
            note("cancelled")
            fault = pb_utils.TritonError("given up", pb_utils.TritonError.CANCELLED)
            return pb_utils.InferenceResponse(error=fault)
        dense = (volume > 0).astype(np.float32)
        maps = np.concatenate((1 - dense, dense), axis=1)
        if mood == "nan":
            maps[0, 1, -1, -1, -1] = np.nan
        if mood == "short":
            maps = np.ascontiguousarray(maps[:, :, 1:])
        note("answered")
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("MAPS", maps)])


def was_cancelled(request, seconds):
    """Compute for a while; say whether the caller gave up meanwhile."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    while time.monotonic() < end:
        if request.is_cancelled():
            return True
        pause.wait(0.02)
    return False


def fill_memory():
    """Run into a limit of the kernel's on this process's memory, as in a container."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, before[1]))
    try:
        np.ones(4 << 30, np.uint8)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
