"""Traces: spans around what the node does, and their context as text that travels and is stored.

Off unless `start` was called; then nothing here costs more than a call.  `otlp` is the one module
that knows OpenTelemetry, and is imported by `start` only.  Spans carry UIDs, names of what is
configured, counts and states; nothing of a patient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from dicomnode.errors import StateError

Kind = Literal["internal", "server", "client", "consumer"]
"""How a span stands to others: as OpenTelemetry names it."""

Value = str | int | float | bool


class Span(Protocol):
    """Something that is being done."""

    @property
    def traceparent(self) -> str | None:
        """Its context as W3C Trace Context has it, for what follows elsewhere; None when off."""

    def note(self, **attributes: Value) -> None:
        """Say more of it."""

    def fail(self, reason: str) -> None:
        """Say that it failed: the name of an error, never its text."""

    def end(self) -> None:
        """Say that it is done."""

    def active(self) -> AbstractContextManager[None]:
        """Make it the parent of spans that begin in the block."""


class Tracer(Protocol):
    """What makes spans."""

    def begin(
        self, name: str, kind: Kind, parent: str | None, attributes: Mapping[str, Value]
    ) -> Span:
        """Begin a span; without `parent` below the active one."""

    def context(self) -> str | None:
        """Return the context of the active span."""

    def close(self) -> None:
        """Send what is left."""


class _Nothing:
    """Stands for every span while tracing is off."""

    traceparent = None

    def note(self, **attributes: Value) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""

    def active(self) -> _Nothing:
        """Return what does nothing, too."""
        return self

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


NOTHING: Span = _Nothing()
"""Stands for every span while tracing is off."""


class _State:
    """The one tracer of the process."""

    tracer: Tracer | None = None


def start(
    endpoint: str,
    *,
    headers_file: Path | None,
    ca_file: Path | None,
    sample_ratio: float,
    version: str,
) -> None:
    """Trace from now on.

    Parameters
    ----------
    endpoint : str
        ``http://HOST:PORT`` or ``https://HOST:PORT`` that takes OTLP over gRPC.
    headers_file : Path or None
        Lines ``Name: value`` sent along.
    ca_file : Path or None
        Certificates to trust; the public ones if none.
    sample_ratio : float
        Share of traces that are sent, 0 to 1.
    version : str
        Of the node.

    Raises
    ------
    StateError
        If the extra ``otel`` is not installed, or a file cannot be used.
    """
    try:
        from dicomnode.tracing import otlp  # noqa: PLC0415 - an extra, and only where it is wanted
    except ImportError as error:
        raise StateError(
            "telemetry.endpoint: traces need the extra `otel`: pip install 'dicomnode-ct[otel]'"
        ) from error
    _State.tracer = otlp.open_tracer(
        endpoint,
        headers_file=headers_file,
        ca_file=ca_file,
        sample_ratio=sample_ratio,
        version=version,
    )


def stop() -> None:
    """Send what is left and trace no more."""
    tracer, _State.tracer = _State.tracer, None
    if tracer is not None:
        tracer.close()


def is_on() -> bool:
    """Whether spans are made."""
    return _State.tracer is not None


def begin(
    name: str, *, kind: Kind = "internal", parent: str | None = None, **attributes: Value
) -> Span:
    """Begin a span that ends elsewhere: its `end` must be called.

    Parameters
    ----------
    name : str
        From a closed set.
    parent : str or None
        A stored `traceparent`; by default the active span is the parent.
    **attributes
        Names of ours; UIDs at most, nothing of a patient.
    """
    tracer = _State.tracer
    return NOTHING if tracer is None else tracer.begin(name, kind, parent, attributes)


def span(
    name: str, *, kind: Kind = "internal", parent: str | None = None, **attributes: Value
) -> AbstractContextManager[Span]:
    """Make a span of a block, as `begin`; an exception that leaves the block fails it."""
    tracer = _State.tracer
    if tracer is None:
        return _OFF
    return _around(tracer.begin(name, kind, parent, attributes))


def context() -> str | None:
    """Return the context of the active span as W3C Trace Context's ``traceparent``."""
    tracer = _State.tracer
    return None if tracer is None else tracer.context()


@contextmanager
def _around(made: Span) -> Iterator[Span]:
    try:
        with made.active():
            yield made
    except BaseException as error:
        made.fail(type(error).__name__)
        raise
    finally:
        made.end()


class _Off:
    """A block without a span."""

    def __enter__(self) -> Span:
        return NOTHING

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None


_OFF = _Off()
