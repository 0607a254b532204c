"""Who may open an association: the rules and what a rejection says (PS3.8 9.3.4)."""

import pytest

from dicomnode.config import AllowedCaller
from dicomnode.receive.admission import Admission, Admitted, Rejected

CALLERS = (
    AllowedCaller(ae_title="CT1", hosts=("192.0.2.10", "2001:db8::/32")),
    AllowedCaller(ae_title="CT2", hosts=("198.51.100.0/24",)),
    AllowedCaller(ae_title="CT1", hosts=("203.0.113.7",)),
)


def decide(callers=CALLERS, **changes: object) -> Admitted | Rejected:
    limits = {each: changes.pop(each) for each in list(changes) if each.startswith("max_")}
    admission = Admission(
        pipelines={"COVIDCT": "covid-ct", "LUNG": "lung"},
        allowed_callers=callers,
        **({"max_associations": 3} | limits),
    )
    request = {
        "called_ae_title": "COVIDCT",
        "calling_ae_title": "CT1",
        "host": "192.0.2.10",
        "open_associations": 0,
    }
    return admission.decide(**(request | changes))


def code(decision: Admitted | Rejected) -> tuple[int, int, int]:
    assert isinstance(decision, Rejected)
    return decision.result, decision.source, decision.reason


@pytest.mark.parametrize(("called", "pipeline"), [("COVIDCT", "covid-ct"), ("LUNG", "lung")])
def test_the_called_ae_title_names_the_pipeline(called, pipeline):
    assert decide(called_ae_title=called) == Admitted(pipeline=pipeline)


MONITORS = (
    *CALLERS,
    AllowedCaller(ae_title="NAGIOS", hosts=("192.0.2.0/24",), verification_only=True),
    AllowedCaller(ae_title="CT1", hosts=("192.0.2.0/24",), verification_only=True),
)


@pytest.mark.parametrize(
    ("calling", "host", "verification_only"),
    [
        ("NAGIOS", "192.0.2.10", True),
        ("CT1", "192.0.2.11", True),
        # Where two entries fit, the one that allows more holds.
        ("CT1", "192.0.2.10", False),
        ("CT2", "198.51.100.77", False),
    ],
)
def test_some_callers_may_verify_only(calling, host, verification_only):
    decision = decide(MONITORS, calling_ae_title=calling, host=host)

    assert decision == Admitted(pipeline="covid-ct", verification_only=verification_only)


@pytest.mark.parametrize("called", ["covidct", "COVIDCT2", "COVID", "ANY-SCP", ""])
def test_any_other_called_ae_title_is_not_recognized(called):
    decision = decide(called_ae_title=called)

    assert code(decision) == (1, 1, 7)
    assert decision.words == f"called AE title: wanted COVIDCT, LUNG, found {called}"


@pytest.mark.parametrize(
    ("calling", "host"),
    [
        ("CT1", "192.0.2.10"),
        ("CT1", "203.0.113.7"),
        ("CT1", "2001:db8::5"),
        ("CT1", "::ffff:192.0.2.10"),
        ("CT2", "198.51.100.77"),
    ],
)
def test_a_caller_is_admitted_from_its_hosts(calling, host):
    assert isinstance(decide(calling_ae_title=calling, host=host), Admitted)


@pytest.mark.parametrize(
    ("calling", "host", "words"),
    [
        ("CT3", "192.0.2.10", "calling AE title: wanted CT1, CT2, found CT3"),
        ("CT2", "192.0.2.10", "peer of CT2: wanted 198.51.100.0/24, found 192.0.2.10"),
        ("CT2", "::1", "peer of CT2: wanted 198.51.100.0/24, found ::1"),
        ("CT2", "127.0.0.1", "peer of CT2: wanted 198.51.100.0/24, found 127.0.0.1"),
    ],
)
def test_any_other_caller_is_not_recognized(calling, host, words):
    decision = decide(calling_ae_title=calling, host=host)

    assert code(decision) == (1, 1, 3)
    assert decision.words == words


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"])
def test_without_a_list_this_machine_may_call(host):
    assert isinstance(decide((), host=host, calling_ae_title="ANYONE"), Admitted)


@pytest.mark.parametrize("host", ["192.0.2.10", "::ffff:192.0.2.10", "fe80::1%eth0", "0.0.0.0"])  # noqa: S104 - an address to refuse
def test_without_a_list_no_other_machine_may(host):
    assert code(decide((), host=host)) == (1, 1, 3)


def test_the_limit_of_associations_is_transient():
    assert isinstance(decide(open_associations=2), Admitted)
    assert code(decide(open_associations=3)) == (2, 3, 2)


def test_a_stranger_learns_nothing_of_the_limit():
    assert code(decide(open_associations=3, calling_ae_title="CT3")) == (1, 1, 3)


def test_while_stopping_the_rejection_is_transient():
    assert code(decide(is_draining=True)) == (2, 3, 1)


def test_one_peer_never_takes_all_associations():
    assert isinstance(decide(max_associations=16, open_from_peer=13), Admitted)
    decision = decide(max_associations=16, open_from_peer=14)

    assert code(decision) == (2, 3, 2)
    assert decision.words == "14 associations from 192.0.2.10 are open, the limit for one peer"


def test_the_limit_for_one_peer_can_be_set():
    limits = {"max_associations": 16, "max_associations_per_peer": 2}

    assert isinstance(decide(**limits, open_from_peer=1), Admitted)
    assert code(decide(**limits, open_from_peer=2)) == (2, 3, 2)


def test_a_shortage_is_transient_and_told_to_callers_only():
    decision = decide(shortage="the disk is full")

    assert (code(decision), decision.words) == ((2, 3, 1), "the disk is full")
    assert code(decide(shortage="the disk is full", calling_ae_title="CT3")) == (1, 1, 3)


def test_the_pipeline_of_a_title_can_be_asked_alone():
    admission = Admission(pipelines={"LUNG": "lung"}, allowed_callers=(), max_associations=3)

    assert (admission.pipeline("LUNG"), admission.pipeline("lung")) == ("lung", None)
