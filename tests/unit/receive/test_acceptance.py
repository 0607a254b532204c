"""What is offered to a peer, and what is stored."""

import pytest

from dicomnode.receive.acceptance import is_stored, supported_contexts
from dicomnode.standard.sop_classes import CT_SOP_CLASSES, CT_TRANSFER_SYNTAXES, VERIFICATION

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
    assert all(is_stored(each) for each in CT_SOP_CLASSES)
    assert not is_stored(SECONDARY_CAPTURE)
    assert not is_stored(DOSE_REPORT)
