"""What a server's refusals become: errors that say whether to try again."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from dicomnode.errors import (
    InferenceError,
    InferenceInterrupted,
    InferenceRejected,
    InferenceTimeout,
    InferenceUnavailable,
)
from dicomnode.inference.client import TritonClient


class _Answering(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A server that is live and refuses every inference in one way."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        self.code = code
        self.text = text

    def ServerLive(self, _request, _context):  # noqa: N802  Triton's protocol has the name
        return service_pb2.ServerLiveResponse(live=True)

    def ModelInfer(self, _request, context):  # noqa: N802  Triton's protocol has the name
        context.abort(self.code, self.text)


@contextmanager
def answering(code: grpc.StatusCode, text: str) -> Iterator[TritonClient]:
    server = grpc.server(ThreadPoolExecutor(1))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(_Answering(code, text), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with TritonClient(f"127.0.0.1:{port}", timeout_seconds=5) as client:
            client.wait_ready([], deadline_seconds=5)
            yield client
    finally:
        server.stop(grace=None).wait()


def test_of_calls_that_are_cut_off_together_one_is_blamed():
    text = "Stub process 'lung_0_0' is not healthy."
    errors = []
    with answering(grpc.StatusCode.INTERNAL, text) as client:
        for _ in range(3):
            with pytest.raises(InferenceUnavailable, match="not healthy") as caught:
                client.infer("lung", {"A": np.zeros(2, np.int16)}, {"B": (np.uint8, None)})
            errors.append(type(caught.value))

    assert errors == [InferenceInterrupted, InferenceUnavailable, InferenceUnavailable]


@pytest.mark.parametrize(
    ("code", "text", "error"),
    [
        (grpc.StatusCode.UNAVAILABLE, "queue is full", InferenceUnavailable),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", InferenceInterrupted),
        (grpc.StatusCode.NOT_FOUND, "unknown model", InferenceUnavailable),
        (grpc.StatusCode.CANCELLED, "shutting down", InferenceUnavailable),
        (grpc.StatusCode.ABORTED, "shutting down", InferenceUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls", InferenceUnavailable),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "Received message larger than max (9 vs. 4)",
            InferenceRejected,
        ),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "too late", InferenceTimeout),
        (grpc.StatusCode.INVALID_ARGUMENT, "bad shape", InferenceRejected),
        (grpc.StatusCode.INTERNAL, "the model raised", InferenceRejected),
        (
            grpc.StatusCode.INTERNAL,
            "Stub process 'lung_0_0' is not healthy.",
            InferenceInterrupted,
        ),
        (grpc.StatusCode.UNIMPLEMENTED, "no such call", InferenceRejected),
        (grpc.StatusCode.UNAUTHENTICATED, "who?", InferenceRejected),
        (grpc.StatusCode.PERMISSION_DENIED, "not you", InferenceRejected),
        (grpc.StatusCode.DATA_LOSS, "oh", InferenceRejected),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_statuses_become_errors_that_say_whether_to_try_again(
    code: grpc.StatusCode, text: str, error: type[InferenceError]
):
    with answering(code, text) as client, pytest.raises(error) as caught:
        client.infer("lung", {"A": np.zeros((2, 3), np.int16)}, {"B": (np.uint8, None)})

    assert type(caught.value) is error
