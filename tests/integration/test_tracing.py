"""Spans over real OTLP: what arrives at a collector, and what costs nothing when nobody asks."""

from __future__ import annotations

import sys
import timeit

import grpc
import numpy as np
import pytest

from dicomnode import tracing
from dicomnode.errors import InferenceRejected, StateError
from dicomnode.inference.client import TritonClient
from dicomnode.tracing import otlp
from tests.support.certificates import Authority
from tests.support.otlp import Collector
from tests.support.scripted_triton import Script, serving

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
"""The example of W3C Trace Context 3.2."""

UNSAMPLED = PARENT[:-2] + "00"


@pytest.fixture
def collector():
    with Collector() as running:
        yield running


@pytest.fixture
def traced(collector):
    """Trace into the collector; gives a function that returns all spans so far."""

    def start(**changes):
        settings = {"headers_file": None, "ca_file": None, "sample_ratio": 1.0, "version": "1"}
        tracing.start(collector.endpoint, **(settings | changes))

    start()
    yield start
    tracing.stop()


def spans(collector):
    tracing.stop()  # sends what is left
    return {each.name: each for each in collector.spans}


@pytest.mark.usefixtures("traced")
def test_spans_are_below_each_other_and_say_what_they_were(collector):
    with tracing.span("analyze", kind="consumer", job="1.2:abc", attempt=2) as outer:
        outer.note(outcome="done")
        with tracing.span("segment", pipeline="chest"):
            pass

    found = spans(collector)

    assert found["segment"].parent_id == found["analyze"].span_id
    assert found["segment"].trace_id == found["analyze"].trace_id
    assert (found["analyze"].kind, found["analyze"].parent_id) == ("consumer", "")
    assert found["analyze"].attributes == {
        "dicomnode.job": "1.2:abc",
        "dicomnode.attempt": 2,
        "dicomnode.outcome": "done",
    }


@pytest.mark.usefixtures("traced")
def test_a_stored_context_goes_on(collector):
    with tracing.span("deliver", parent=PARENT):
        context = tracing.context()

    found = spans(collector)["deliver"]

    assert (found.trace_id, found.parent_id) == (PARENT[3:35], PARENT[36:52])
    assert context == f"00-{found.trace_id}-{found.span_id}-01"


@pytest.mark.usefixtures("traced")
def test_what_was_not_sampled_stays_so_and_its_context_too(collector):
    with tracing.span("deliver", parent=UNSAMPLED) as span:
        context = span.traceparent

    assert spans(collector) == {}
    assert context.startswith(UNSAMPLED[:36])
    assert context.endswith("-00")


def test_a_ratio_of_nothing_sends_nothing(collector, traced):
    tracing.stop()
    traced(sample_ratio=0.0)

    with tracing.span("association"):
        pass

    assert spans(collector) == {}


@pytest.mark.usefixtures("traced")
def test_a_failure_is_told_by_its_kind_and_not_in_its_words(collector):
    with pytest.raises(ValueError, match="Doe"), tracing.span("assemble"):
        raise ValueError("Doe^Jane")

    found = spans(collector)["assemble"]

    assert found.failed
    assert not any(b"Doe" in each for each in collector.raw)
    assert any(b"ValueError" in each for each in collector.raw)


@pytest.mark.usefixtures("traced")
def test_a_span_may_be_ended_twice_and_is_told_once(collector):
    span = tracing.begin("C-STORE")
    span.end()
    span.fail("abandoned")
    span.end()

    tracing.stop()

    assert [(each.name, each.failed) for each in collector.spans] == [("C-STORE", False)]


def test_the_headers_of_a_file_are_sent_along(collector, traced, tmp_path):
    tracing.stop()
    headers = tmp_path / "headers"
    headers.write_text("Authorization: Bearer abc\nX-Tenant: radiology\n")
    traced(headers_file=headers)

    with tracing.span("association"):
        pass
    tracing.stop()

    assert collector.metadata[0]["authorization"] == "Bearer abc"
    assert collector.metadata[0]["x-tenant"] == "radiology"


def test_over_https_the_collector_is_known_by_its_certificate(tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("collector")
    credentials = grpc.ssl_server_credentials(
        [(pair.key.read_bytes(), pair.certificate.read_bytes())]
    )
    with Collector(credentials) as collector:
        tracing.start(
            collector.endpoint,
            headers_file=None,
            ca_file=authority.certificate,
            sample_ratio=1.0,
            version="1",
        )
        with tracing.span("association"):
            pass

        assert list(spans(collector)) == ["association"]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("Bearer abc\n", 'wanted "Name: value" in line 1')],
    ids=["absent", "no headers"],
)
def test_a_headers_file_that_cannot_be_used_is_named(tmp_path, content, said):
    path = tmp_path / "headers"
    if content is not None:
        path.write_text(content)

    with pytest.raises(StateError, match=f"headers.*{said}"):
        tracing.start(
            "http://127.0.0.1:4317", headers_file=path, ca_file=None, sample_ratio=1, version="1"
        )
    assert not tracing.is_on()


def test_without_the_extra_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "dicomnode.tracing.otlp", None)
    monkeypatch.delattr(tracing, "otlp", raising=False)

    with pytest.raises(StateError, match=r"dicomnode-ct\[otel\]"):
        tracing.start(
            "http://127.0.0.1:4317", headers_file=None, ca_file=None, sample_ratio=1, version="1"
        )


def test_a_collector_that_is_away_costs_the_spans_only(monkeypatch):
    monkeypatch.setattr(otlp, "_CLOSE_MILLISECONDS", 200)
    monkeypatch.setattr(otlp, "_TIMEOUT_SECONDS", 1)
    tracing.start(
        "http://127.0.0.1:1", headers_file=None, ca_file=None, sample_ratio=1.0, version="1"
    )

    with tracing.span("association"):
        done = True
    tracing.stop()

    assert done


def ask(*, act=None):
    """Ask the scripted server's model once."""
    script = Script(acts=() if act is None else (act,))
    windows = np.zeros((1, 1, 2, 3, 4), np.float32)
    with serving(script) as served, TritonClient(served, timeout_seconds=5) as client:
        client.infer("windows", {"IN": windows}, {"OUT": (np.float32, (1, 2, 2, 3, 4))})
    return script


@pytest.mark.usefixtures("traced")
def test_a_request_to_triton_carries_the_trace(collector):
    with tracing.span("segment", parent=PARENT):
        script = ask()

    found = spans(collector)["triton"]

    assert script.traceparents == [f"00-{found.trace_id}-{found.span_id}-01"]
    assert (found.trace_id, found.kind) == (PARENT[3:35], "client")
    assert found.attributes == {"dicomnode.model": "windows"}


@pytest.mark.usefixtures("traced")
def test_a_request_that_fails_fails_its_span(collector):
    with pytest.raises(InferenceRejected):
        ask(act=(grpc.StatusCode.INVALID_ARGUMENT, "no"))

    assert spans(collector)["triton"].failed


def test_without_traces_triton_is_told_of_none():
    assert ask().traceparents == []


def test_while_it_is_off_it_costs_next_to_nothing():
    """An instance makes two such calls; the fastest sender brings some hundred a second."""

    def serve():
        with tracing.span("C-STORE", kind="server", pipeline="chest"):
            tracing.context()

    best = min(timeit.repeat(serve, number=2000, repeat=7)) / 2000

    assert best < 20e-6
    assert "dicomnode.tracing.otlp" not in sys.modules or not tracing.is_on()
