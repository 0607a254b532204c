"""UIDs: which are valid, and which of ours stand for what."""

import pydicom
import pytest
from pydicom.uid import UID

from dicomnode.standard import uids


@pytest.mark.parametrize(
    "uid",
    [
        "1.2.840.10008.1.1",
        "0.0",
        "2.25.131620498412683246702458937517207841613",
        "1." + "2" * 62,
    ],
)
def test_a_valid_uid_is_recognized(uid):
    assert uids.is_valid_uid(uid)
    assert UID(uid).is_valid


@pytest.mark.parametrize(
    "uid",
    [
        pytest.param("", id="empty"),
        pytest.param("1", id="one component"),
        pytest.param("1.2.", id="trailing dot"),
        pytest.param(".1.2", id="leading dot"),
        pytest.param("1..2", id="empty component"),
        pytest.param("1.02", id="leading zero"),
        pytest.param("1.2a", id="letter"),
        pytest.param("1.2\n", id="line feed"),
        pytest.param("1.2\0", id="padding left on"),
        pytest.param("1.\u0662", id="digit of another script"),
        pytest.param("1." + "2" * 63, id="65 characters"),
    ],
)
def test_what_is_no_uid_is_recognized_too(uid):
    assert not uids.is_valid_uid(uid)


def test_the_same_parts_give_the_same_uid_in_every_process():
    expected = "2.25.172971869556548715736951932201677051256"

    assert expected == uids.derive_uid("1.2.3", "1", "lung", "seg")


def test_parts_are_kept_apart():
    made = {
        uids.derive_uid("ab", "c"),
        uids.derive_uid("a", "bc"),
        uids.derive_uid("abc"),
        uids.derive_uid("abc", ""),
        uids.derive_uid("2:ab", "c"),
    }

    assert len(made) == 5


def test_derived_uids_are_valid_for_any_part():
    assert uids.is_valid_uid(uids.derive_uid("1.2.3", "\u00e9", "", "x" * 5000))


def test_the_implementation_names_itself_within_the_limits():
    assert uids.is_valid_uid(uids.IMPLEMENTATION_CLASS_UID)
    assert uids.IMPLEMENTATION_CLASS_UID != pydicom.uid.PYDICOM_IMPLEMENTATION_UID
    assert 1 <= len(uids.IMPLEMENTATION_VERSION_NAME) <= 16
    assert uids.IMPLEMENTATION_VERSION_NAME.isascii()
