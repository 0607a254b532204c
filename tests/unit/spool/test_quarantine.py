"""What was refused is kept with its reason, within bounds."""

import json

import pytest

from dicomnode.errors import StateError
from dicomnode.spool.quarantine import Quarantine


@pytest.fixture
def quarantine(tmp_path):
    return Quarantine(tmp_path)


def test_an_object_is_kept_with_reason_time_and_facts(quarantine):
    identifier = quarantine.keep(
        b"garbage", reason="cannot be parsed", facts={"sop_instance_uid": "1.2.3", "host": "::1"}
    )

    item = quarantine.get(identifier)
    assert quarantine.path(identifier).read_bytes() == b"garbage"
    assert item.reason == "cannot be parsed"
    assert item.facts == {"sop_instance_uid": "1.2.3", "host": "::1"}
    assert item.first_seen == item.last_seen
    assert item.first_seen.endswith("+00:00")
    assert (item.count, item.size_bytes, item.kept_bytes) == (1, 7, 7)
    assert quarantine.list() == (item,)


def test_the_same_object_again_counts_up(quarantine):
    first = quarantine.keep(b"garbage", reason="a", facts={})
    second = quarantine.keep(b"garbage", reason="b", facts={})

    assert first == second
    (item,) = quarantine.list()
    assert (item.count, item.reason) == (2, "b")
    assert item.first_seen <= item.last_seen


def test_the_latest_comes_first(quarantine):
    ids = [quarantine.keep(bytes([n]), reason=str(n), facts={}) for n in range(3)]
    quarantine.keep(bytes([0]), reason="again", facts={})

    assert quarantine.list()[0].id == ids[0]


def test_attributes_of_a_patient_are_no_facts(quarantine):
    with pytest.raises(ValueError, match="patient_name"):
        quarantine.keep(b"x", reason="r", facts={"patient_name": "Doe^Jane"})


def test_of_a_large_object_the_beginning_is_kept(tmp_path):
    quarantine = Quarantine(tmp_path, max_item_bytes=10)

    identifier = quarantine.keep(b"0123456789abcdef", reason="r", facts={})

    assert quarantine.path(identifier).read_bytes() == b"0123456789"
    assert (quarantine.get(identifier).size_bytes, quarantine.get(identifier).kept_bytes) == (
        16,
        10,
    )


def test_a_full_quarantine_keeps_the_reason_only(tmp_path):
    Quarantine(tmp_path, max_total_bytes=15).keep(b"0123456789", reason="first", facts={})
    quarantine = Quarantine(tmp_path, max_total_bytes=15)

    identifier = quarantine.keep(b"another one", reason="second", facts={})

    assert quarantine.get(identifier).kept_bytes == 0
    with pytest.raises(StateError, match="only the reason"):
        quarantine.path(identifier)


def test_a_file_of_the_spool_is_moved_whole_whatever_its_size(tmp_path):
    quarantine = Quarantine(tmp_path, max_item_bytes=3, max_total_bytes=3)
    (tmp_path / "file").write_bytes(b"once acknowledged")

    identifier = quarantine.take(tmp_path / "file", reason="r", facts={"key": "instances/x"})

    assert quarantine.path(identifier).read_bytes() == b"once acknowledged"
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("identifier", ["", "../instances", "0" * 31, "0" * 32])
def test_what_is_not_there_cannot_be_had(quarantine, identifier):
    with pytest.raises(StateError):
        quarantine.get(identifier)


def test_a_record_that_cannot_be_read_is_named(quarantine, tmp_path):
    identifier = quarantine.keep(b"x", reason="r", facts={})
    (tmp_path / "quarantine" / f"{identifier}.json").write_text(json.dumps({"id": "?"}))

    with pytest.raises(StateError, match=identifier):
        quarantine.get(identifier)
