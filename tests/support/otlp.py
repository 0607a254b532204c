"""A collector of traces: takes OTLP over real gRPC and keeps the spans it is sent."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Span:
    """A span as it came over the wire."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: str
    failed: bool
    process: str
    attributes: dict[str, Any]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on a free port of loopback; use it as a context manager."""

    def __init__(self, credentials: Any = None) -> None:
        self.spans: list[Span] = []
        self.metadata: list[dict[str, str]] = []
        self.raw: list[bytes] = []
        self._changed = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)
        if credentials is None:
            self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
            self.endpoint = f"https://localhost:{port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.stop(grace=None).wait()

    def Export(self, request, context):  # noqa: N802  the protocol has the name
        with self._changed:
            self.raw.append(request.SerializeToString())
            self.metadata.append({key: str(each) for key, each in context.invocation_metadata()})
            for resource in request.resource_spans:
                process = _attributes(resource.resource.attributes)["service.instance.id"]
                for scope in resource.scope_spans:
                    self.spans += [_read(each, process) for each in scope.spans]
            self._changed.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def wait_for(
        self, wanted: Callable[[Sequence[Span]], bool], what: str, seconds: float = 30.0
    ) -> list[Span]:
        """Wait until the spans are as wanted; return them all."""
        with self._changed:
            names = [each.name for each in self.spans]
            assert self._changed.wait_for(lambda: wanted(self.spans), seconds), (
                f"within {seconds:g} s it was not told that {what}; told was {names}"
            )
            return list(self.spans)


def _read(span: trace_pb2.Span, process: str) -> Span:
    return Span(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
        process=process,
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in pairs}
