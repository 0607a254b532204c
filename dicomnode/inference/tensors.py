"""Arrays as tensors of a call: in shared memory where there is some, else in the message."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from tritonclient import grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from dicomnode.errors import InferenceRejected, ModelContractMismatch
from dicomnode.inference.kept import KeptTensors
from dicomnode.inference.regions import RegisteredRegions
from dicomnode.inference.statuses import one_line

OutputSpec = tuple[DTypeLike, tuple[int, ...] | None]
"""Dtype and shape of a tensor that is asked for; shape None where it is not known beforehand."""


def input_tensor(
    name: str, array: NDArray[Any], places: RegisteredRegions | KeptTensors, until: ExitStack
) -> Any:
    """Return what tritonclient sends for an array; `until` takes its memory back.

    Raises
    ------
    InferenceRejected
        If a message cannot carry it.
    """
    tensor = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
    region = places.place(array, until)
    if region is None:
        try:
            tensor.set_data_from_numpy(array)
        except InferenceServerException as error:
            raise InferenceRejected(f"input {name}: {one_line(error.message())}") from error
    else:
        tensor.set_shared_memory(region.name, array.nbytes)
    return tensor


def output_tensor(
    name: str, spec: OutputSpec, regions: RegisteredRegions, until: ExitStack
) -> tuple[Any, NDArray[Any] | None]:
    """Return what tritonclient asks for, and the array that it will stand in, if that is shared."""
    dtype, shape = spec
    tensor = triton.InferRequestedOutput(name)
    if shape is None:
        return tensor, None
    size_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    region = regions.lend(size_bytes, until)
    if region is None:
        return tensor, None
    tensor.set_shared_memory(region.name, size_bytes)
    return tensor, region.as_array(shape, dtype)


def check_answer(model: str, name: str, spec: OutputSpec, found: Any) -> None:
    """Hold a tensor that came back against what was asked for.

    Raises
    ------
    ModelContractMismatch
        With dtype and shape, wanted and found.
    """
    dtype, shape = spec
    wanted = f"{np_to_triton_dtype(np.dtype(dtype))}{'' if shape is None else list(shape)}"
    if found is None:
        raise ModelContractMismatch(f"model {model!r}: wanted output {name} {wanted}, found none")
    right_dtype = found.datatype == np_to_triton_dtype(np.dtype(dtype))
    right_shape = shape is None or tuple(found.shape) == shape
    if not (right_dtype and right_shape):
        raise ModelContractMismatch(
            f"model {model!r}: wanted output {name} {wanted}, "
            f"found {found.datatype}{list(found.shape)}"
        )
