"""An inference server over real gRPC that follows a script: for faults that a real one seldom has.

Its one model takes windows, [N, 1, Z, Y, X], and gives two classes, [N, 2, Z, Y, X]: class 1 has
the probability that the voxel's value is (in UINT8, 255 for 1).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

ANSWER, STALL, NAN, SHORT = "answer", "stall", "nan", "short"
_DTYPES = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8}
Act = str | tuple[grpc.StatusCode, str]


@dataclass
class Script(service_pb2_grpc.GRPCInferenceServiceServicer):
    """What the server does, call by call; after the last act it answers.

    The first call waits until `gather` calls are in the server, for 10 seconds at most.
    """

    acts: Sequence[Act] = ()
    gather: int = 0
    dtype: str = "FP32"
    calls: int = 0
    inside: int = 0
    most_inside: int = 0
    tokens: list[str] = field(default_factory=list)
    traceparents: list[str] = field(default_factory=list)
    cancelled: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)
    gathered: threading.Event = field(default_factory=threading.Event)
    lock: Any = field(default_factory=threading.Lock)

    def ServerLive(self, _request, context):  # noqa: N802  Triton's protocol has the name
        self.tokens += [v for k, v in context.invocation_metadata() if k == "authorization"]
        return service_pb2.ServerLiveResponse(live=True)

    def ServerMetadata(self, _request, _context):  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version="0.scripted")

    def ModelReady(self, _request, _context):  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=True)

    def ModelMetadata(self, request, _context):  # noqa: N802
        tensor = service_pb2.ModelMetadataResponse.TensorMetadata
        return service_pb2.ModelMetadataResponse(
            name=request.name,
            inputs=[tensor(name="IN", datatype=self.dtype, shape=[-1, 1, -1, -1, -1])],
            outputs=[tensor(name="OUT", datatype=self.dtype, shape=[-1, 2, -1, -1, -1])],
        )

    def ModelConfig(self, _request, _context):  # noqa: N802
        config = model_config_pb2.ModelConfig(max_batch_size=8)
        config.input.add(name="IN")
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request, context):  # noqa: N802
        with self.lock:
            self.traceparents += [v for k, v in context.invocation_metadata() if k == "traceparent"]
            act = self.acts[self.calls] if self.calls < len(self.acts) else ANSWER
            self.calls += 1
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
            if self.inside >= self.gather:
                self.gathered.set()
        try:
            return self._act(act, request, context)
        finally:
            with self.lock:
                self.inside -= 1

    def _act(self, act, request, context):
        self.reached.set()
        if isinstance(act, tuple):
            context.abort(*act)
        if act == STALL:
            ended = threading.Event()
            context.add_callback(ended.set)
            ended.wait(30)
            self.cancelled.set()
        if self.gather:
            self.gathered.wait(10)
        shape = list(request.inputs[0].shape)
        values = np.frombuffer(request.raw_input_contents[0], _DTYPES[self.dtype]).reshape(shape)
        whole = 255 if self.dtype == "UINT8" else 1
        maps = np.concatenate((whole - values, values), axis=1)
        if act == NAN:
            maps[0, 0, 0, 0, 0] = np.nan
        if act == SHORT:
            maps = np.ascontiguousarray(maps[:, :, 1:])
        response = service_pb2.ModelInferResponse(model_name=request.model_name)
        response.outputs.add(name="OUT", datatype=self.dtype, shape=maps.shape)
        response.raw_output_contents.append(maps.tobytes())
        return response


@contextmanager
def serving(script: Script, *, credentials: Any = None) -> Iterator[str]:
    """Serve on a free port of loopback; give the address."""
    server = grpc.server(ThreadPoolExecutor(16))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(script, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
        host = "127.0.0.1"
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
        host = "localhost"
    server.start()
    try:
        yield f"{host}:{port}"
    finally:
        server.stop(grace=None).wait()
