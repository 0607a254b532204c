"""What a fresh node shows: zeros for all that is configured, so that a first event is a rise."""

from prometheus_client import REGISTRY

from dicomnode.errors import NodeError
from dicomnode.metrics import reason_of, zeros
from dicomnode.receive.admission import NO_REASON, Rejected


def value(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def test_what_is_configured_stands_at_zero():
    zeros.begin_at_zero(pipelines=["zero"], destinations=["nowhere"], models=["none"])

    assert value("dicomnode_instances_received_total", pipeline="zero", status="A700") == 0
    assert (
        value("dicomnode_instances_refused_total", pipeline="zero", reason="spool_full"),
        value("dicomnode_jobs_total", pipeline="zero", state="failed"),
        value("dicomnode_deliveries_total", destination="nowhere", outcome="parked"),
        value("dicomnode_triton_failures_total", model="none", reason="inference_timeout"),
        value("dicomnode_triton_request_seconds_count", model="none"),
    ) == (0, 0, 0, 0, 0)


def test_reasons_of_refusals_are_names_of_our_errors():
    def leaves(kind):
        return {kind} | {leaf for each in kind.__subclasses__() for leaf in leaves(each)}

    known = {reason_of(each.__new__(each)) for each in leaves(NodeError)} | {"internal_error"}

    assert set(zeros.REFUSALS) <= known
    assert set(zeros.TRITON_REASONS) <= known
    assert reason_of(OSError("Doe^Jane")) == "internal_error"


def test_every_rejection_has_a_name_that_stands_at_zero():
    codes = [(1, 1, 7), (1, 1, 3), (1, 2, 1), (2, 3, 1), (2, 3, 2)]
    names = {
        Rejected(result=result, source=source, reason=reason, words="").name
        for result, source, reason in codes
    }

    assert names | {NO_REASON.name, "too_many_connections", "tls_handshake"} == set(
        zeros.REJECTIONS
    )
