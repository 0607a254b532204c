"""What is offered to a peer, and what is stored."""

import pytest
from pynetdicom.service_class import StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicomnode.receive.acceptance import DEFAULT_POLICY, StorePolicy, supported_contexts
from dicomnode.standard.sop_classes import (
    CT_SOP_CLASSES,
    CT_TRANSFER_SYNTAXES,
    RETIRED_STORAGE,
    VERIFICATION,
)

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"


@pytest.mark.parametrize("sop_class", [*CT_SOP_CLASSES, SECONDARY_CAPTURE, DOSE_REPORT])
def test_storage_is_offered_in_every_transfer_syntax_of_ct(sop_class):
    (context,) = supported_contexts([sop_class])

    assert tuple(context.transfer_syntax) == CT_TRANSFER_SYNTAXES


def test_a_class_asked_for_twice_is_offered_once():
    assert len(supported_contexts([VERIFICATION, CT_SOP_CLASSES[0], VERIFICATION])) == 2


@pytest.mark.parametrize(
    "abstract_syntax",
    ["1.2.840.10008.5.1.4.1.2.1.1", "1.2.840.10008.1.20.1", "1.2.3.4", ""],
    ids=["query", "commitment", "private", "empty"],
)
def test_no_other_service_is_offered(abstract_syntax):
    assert supported_contexts([abstract_syntax]) == []


def test_ct_is_stored_and_the_rest_of_a_study_is_not():
    assert all(DEFAULT_POLICY.is_stored(each) for each in CT_SOP_CLASSES)
    assert not DEFAULT_POLICY.is_stored(SECONDARY_CAPTURE)
    assert not DEFAULT_POLICY.is_stored(DOSE_REPORT)


def test_a_policy_may_leave_the_rest_of_a_study_out_of_the_negotiation():
    policy = StorePolicy([DOSE_REPORT], refuse_others=True)

    (context,) = supported_contexts(
        [CT_SOP_CLASSES[0], DOSE_REPORT, SECONDARY_CAPTURE], policy=policy
    )

    assert context.abstract_syntax == DOSE_REPORT
    assert policy.is_stored(DOSE_REPORT)
    assert not policy.is_stored(CT_SOP_CLASSES[0])


@pytest.mark.parametrize("sop_class", RETIRED_STORAGE)
def test_storage_of_earlier_editions_is_negotiated_and_ignored(sop_class):
    assert len(supported_contexts([sop_class])) == 1
    assert uid_to_service_class(sop_class) is StorageServiceClass
    assert not DEFAULT_POLICY.is_stored(sop_class)


def test_a_private_class_is_storage_once_it_is_configured():
    private = "1.2.826.0.1.3680043.10.999.1"
    assert supported_contexts([private]) == []

    policy = StorePolicy([private])

    assert len(supported_contexts([private], policy=policy)) == 1
    assert uid_to_service_class(private) is StorageServiceClass


def test_commitment_is_offered_where_there_is_a_service_for_it():
    (context,) = supported_contexts(["1.2.840.10008.1.20.1"], commitment=True)

    assert list(context.transfer_syntax) == ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]
