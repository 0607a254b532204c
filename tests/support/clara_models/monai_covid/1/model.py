"""A stand-in for the monai_covid example: a compressed NIfTI file in, the name of a class out."""

import gzip
import struct

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Positive where the voxel (1, 2, 3), counted x, y, z, reads above 0 HU."""

    def execute(self, requests):
        """Answer each request with shape (N, 1), bytes."""
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        content = pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy()
        data = gzip.decompress(content.ravel()[0])
        columns, rows = struct.unpack_from("<2h", data, 42)
        voxel = struct.unpack_from("<h", data, 352 + 2 * (1 + columns * (2 + rows * 3)))[0]
        word = b"COVID Positive" if voxel > 0 else b"COVID Negative"
        tensor = pb_utils.Tensor("OUTPUT0", np.array([[word]], dtype=np.bytes_))
        return pb_utils.InferenceResponse(output_tensors=[tensor])
