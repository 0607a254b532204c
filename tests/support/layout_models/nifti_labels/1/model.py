"""A model that takes a NIfTI file and answers with one, read and written by SimpleITK."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import SimpleITK
import triton_python_backend_utils as pb_utils

# In patient space (LPS, millimeters), which no order of axes changes.
MARKED_LPS = (-38.6, 14.85, -198.0)


class TritonPythonModel:
    """Label 1 for what is bright, 2 for the voxel at a point of the patient."""

    def execute(self, requests):
        """Answer each request."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        content = pb_utils.get_input_tensor_by_name(request, "FILE").as_numpy()[0]
        suffix = ".nii.gz" if content[:2] == b"\x1f\x8b" else ".nii"
        with TemporaryDirectory() as folder:
            given, found = (Path(folder) / f"{name}{suffix}" for name in ("in", "out"))
            given.write_bytes(content)
            volume = SimpleITK.ReadImage(given)
            labels = SimpleITK.Cast(volume > 0, SimpleITK.sitkUInt8)
            labels[volume.TransformPhysicalPointToIndex(MARKED_LPS)] = 2
            SimpleITK.WriteImage(labels, found)
            answer = np.array([found.read_bytes()], dtype=np.object_)
        return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("LABELS", answer)])
