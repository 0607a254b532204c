"""Statuses: success, retry or neither, and their words.  pynetdicom has the second opinion."""

import pytest
from pynetdicom.status import GENERAL_STATUS, STORAGE_SERVICE_CLASS_STATUS, code_to_category

from dicomnode.standard.status import (
    StoreStatus,
    describe_store_status,
    is_success,
    is_transient,
)

_FAILURE_WORDS = ("Failure: ", "Refused: ", "Error: ")
_CANCEL = 0xFE00  # no answer to a C-STORE


def test_success_and_warning_mean_that_the_peer_has_the_instance():
    differing = [
        f"0x{status:04X}"
        for status in range(0x10000)
        if is_success(status) != (code_to_category(status) in {"Success", "Warning"})
    ]

    assert differing == []


@pytest.mark.parametrize("status", [0xA700, 0xA701, 0xA7FF, 0x0213])
def test_a_peer_short_of_resources_may_be_asked_again(status):
    assert is_transient(status)
    assert not is_success(status)


@pytest.mark.parametrize("status", [0x0000, 0x0122, 0x0124, 0xA6FF, 0xA800, 0xA900, 0xB000, 0xC000])
def test_other_statuses_are_final(status):
    assert not is_transient(status)


def test_every_status_of_the_standard_has_the_words_of_its_category():
    words_of = {"Success": ("Success",), "Warning": ("Warning",), "Failure": _FAILURE_WORDS}
    statuses = {**GENERAL_STATUS, **STORAGE_SERVICE_CLASS_STATUS}.keys() - {_CANCEL}

    differing = {
        f"0x{status:04X}": describe_store_status(status)
        for status in statuses
        if not describe_store_status(status).startswith(words_of[code_to_category(status)])
    }

    assert differing == {}


@pytest.mark.parametrize("status", [0x0002, 0xA800, 0xD000, 0xFF00])
def test_a_status_without_meaning_is_given_as_its_number(status):
    assert f"Unknown status 0x{status:04X}" == describe_store_status(status)


def test_what_the_node_answers_means_what_it_says():
    assert {status: describe_store_status(status) for status in StoreStatus} == {
        StoreStatus.SUCCESS: "Success",
        StoreStatus.DUPLICATE_SOP_INSTANCE: "Refused: Duplicate SOP Instance",
        StoreStatus.OUT_OF_RESOURCES: "Refused: Out of Resources",
        StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS: "Error: Data Set does not match SOP Class",
        StoreStatus.CANNOT_UNDERSTAND: "Error: Cannot understand",
    }
