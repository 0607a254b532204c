"""Spans over OTLP: the one module that knows OpenTelemetry.  Needs the extra ``otel``."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dicomnode.errors import StateError
from dicomnode.tracing import Kind, Span, Tracer, Value

_KINDS: Final = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "client": trace.SpanKind.CLIENT,
    "consumer": trace.SpanKind.CONSUMER,
}
_HEADER: Final = "traceparent"
_TIMEOUT_SECONDS: Final = 10
_LONGEST_QUEUE: Final = 8192
"""Spans that wait to be sent; more are dropped: a collector that is away must cost nothing else."""

_CLOSE_MILLISECONDS: Final = 5000

_propagator = TraceContextTextMapPropagator()


def open_tracer(
    endpoint: str,
    *,
    headers_file: Path | None,
    ca_file: Path | None,
    sample_ratio: float,
    version: str,
) -> Tracer:
    """Return what makes spans and sends them; see `dicomnode.tracing.start`.

    Raises
    ------
    StateError
        If a file cannot be used.
    """
    is_secure = endpoint.startswith("https://")
    exporter = OTLPSpanExporter(
        endpoint=endpoint,
        insecure=not is_secure,
        credentials=_credentials(ca_file) if is_secure else None,
        headers=_read_headers(headers_file) if headers_file is not None else None,
        timeout=_TIMEOUT_SECONDS,
    )
    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(sample_ratio)),
        resource=Resource.create(
            {
                "service.name": "dicomnode",
                "service.version": version,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        ),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(exporter, max_queue_size=_LONGEST_QUEUE))
    # Not made the process's own: libraries that look for one would add spans with who knows what.
    return _OtlpTracer(provider)


class _OtlpTracer:
    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("dicomnode")

    def begin(
        self, name: str, kind: Kind, parent: str | None, attributes: Mapping[str, Value]
    ) -> Span:
        return _OtlpSpan(
            self._tracer.start_span(
                name,
                context=None if parent is None else _propagator.extract({_HEADER: parent}),
                kind=_KINDS[kind],
                attributes=_named(attributes),
            )
        )

    def context(self) -> str | None:
        return _traceparent(trace.get_current_span())

    def close(self) -> None:
        self._provider.force_flush(_CLOSE_MILLISECONDS)
        self._provider.shutdown()


class _OtlpSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str | None:
        return _traceparent(self._span)

    # What is over cannot be changed: whoever comes late need not know.

    def note(self, **attributes: Value) -> None:
        if self._span.is_recording():
            self._span.set_attributes(_named(attributes))

    def fail(self, reason: str) -> None:
        if self._span.is_recording():
            self._span.set_status(trace.StatusCode.ERROR, reason)

    def end(self) -> None:
        if self._span.is_recording():
            self._span.end()

    @contextmanager
    def active(self) -> Iterator[None]:
        with trace.use_span(self._span, record_exception=False, set_status_on_exception=False):
            yield


def _named(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {f"dicomnode.{name}": value for name, value in attributes.items()}


def _traceparent(span: trace.Span) -> str | None:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, trace.set_span_in_context(span))
    return carrier.get(_HEADER)


def _credentials(ca_file: Path | None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(None if ca_file is None else _read(ca_file).encode())


def _read_headers(path: Path) -> dict[str, str]:
    headers: dict[str, str] = {}
    for number, line in enumerate(_read(path).splitlines(), start=1):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise StateError(f'{path}: wanted "Name: value" in line {number}, found no such thing')
        headers[name.strip().lower()] = value.strip()  # gRPC's metadata has lower case only
    return headers


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{path} cannot be read: {type(error).__name__}") from error
