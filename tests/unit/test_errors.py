"""The error tree: every failure has its own code, its sentence, and says whether a retry helps."""

import re

import pytest

from dicomnode import errors
from dicomnode.standard.status import StoreStatus, describe_store_status


def tree(root=errors.NodeError):
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


OURS = [kind for kind in tree() if kind.__module__ == errors.__name__]
LEAVES = [kind for kind in OURS if not kind.__subclasses__()]
RANGES = {
    errors.ConfigError: range(100, 200),
    errors.ReceiveError: range(200, 300),
    errors.SeriesError: range(300, 400),
    errors.InferenceError: range(400, 500),
    errors.ResultError: range(500, 600),
    errors.SendError: range(600, 700),
    errors.StateError: range(700, 800),
    errors.DemoFailed: range(800, 900),
}


def test_the_tree_stands_in_one_module():
    assert list(tree()) == OURS


def test_no_code_is_given_twice():
    codes = [kind.code for kind in OURS]

    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_a_class_is_explained_in_a_sentence_and_drawn_in_the_tree(kind):
    assert kind.__doc__
    assert kind.__doc__.splitlines()[0].endswith(".") or ";" in kind.__doc__
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__)


@pytest.mark.parametrize("kind", OURS[1:], ids=lambda kind: kind.__name__)
def test_a_code_lies_in_the_range_of_its_branch(kind):
    (branch,) = (base for base in RANGES if issubclass(kind, base))

    assert kind.code in RANGES[branch]


@pytest.mark.parametrize("kind", list(tree(errors.ReceiveError)), ids=lambda kind: kind.__name__)
def test_an_instance_that_cannot_be_taken_is_answered_with_a_failure(kind):
    assert kind.status in set(StoreStatus) - {StoreStatus.SUCCESS}
    assert describe_store_status(kind.status).startswith(("Refused: ", "Error: "))


@pytest.mark.parametrize("kind", list(tree(errors.SeriesError)), ids=lambda kind: kind.__name__)
def test_a_series_error_has_a_stable_reason_and_no_retry(kind):
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.reason)
    assert not kind.retryable


def test_no_reason_is_given_twice():
    reasons = [kind.reason for kind in tree(errors.SeriesError)]

    assert len(reasons) == len(set(reasons))


def test_only_what_may_pass_is_tried_again():
    assert {
        errors.SpoolFull,
        errors.StorageUnavailable,
        errors.InferenceUnavailable,
        errors.InferenceInterrupted,
        errors.InferenceTimeout,
        errors.AssociationUnavailable,
        errors.DestinationUnavailable,
    } == {kind for kind in OURS if kind.retryable}


@pytest.mark.parametrize("transient", [True, False])
def test_a_peer_s_answer_decides_on_the_retry(transient):
    rejected = errors.AssociationRejected("rejected", transient=transient)
    refused = errors.StoreRefused("refused", status=0xA700, transient=transient)

    assert transient == rejected.retryable
    assert transient == refused.retryable
    assert refused.status == 0xA700


def test_configuration_faults_stay_apart_and_read_as_one():
    error = errors.ConfigError(("receive.port: a", "log.level: b"))

    assert error.faults == ("receive.port: a", "log.level: b")
    assert str(error) == "receive.port: a; log.level: b"
