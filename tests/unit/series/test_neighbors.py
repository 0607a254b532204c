"""What survivors do about receivers that died, and what they leave alone."""

import pytest

from dicomnode.database import open_database
from dicomnode.database.touch_rows import list_open_associations, record_touch
from dicomnode.series.neighbors import Neighbors


@pytest.fixture
def database(tmp_path):
    database = open_database("sqlite", data_dir=tmp_path)
    yield database
    database.close()


def touch(database, receiver, association):
    with database.begin() as transaction:
        record_touch(transaction, association, "chest", "1.2.3", receiver=receiver)


def associations(database):
    with database.begin() as transaction:
        return list_open_associations(transaction)


def neighbors(database, *, alive=(), keep=lambda: True, recover=lambda: None):
    return Neighbors(
        database, receiver="own", is_alive=alive.__contains__, keep=keep, recover=recover
    )


def test_what_the_dead_acknowledged_is_recorded_before_their_associations_are_forgotten(database):
    for receiver in ("own", "living", "dead"):
        touch(database, receiver, f"of-{receiver}")
    at_recovery = []

    neighbors(
        database, alive={"living"}, recover=lambda: at_recovery.append(associations(database))
    ).look_after()

    assert [sorted(each) for each in at_recovery] == [["dead", "living", "own"]]
    assert sorted(associations(database)) == ["living", "own"]


def test_nothing_is_scanned_while_all_live(database):
    touch(database, "living", "a")
    recovered = []

    neighbors(database, alive={"living"}, recover=lambda: recovered.append(1)).look_after()

    assert recovered == []


def test_what_a_successor_of_the_same_name_brings_meanwhile_is_left(database):
    touch(database, "receiver-1", "of the dead")

    neighbors(
        database, recover=lambda: touch(database, "receiver-1", "of the successor")
    ).look_after()

    assert associations(database) == {"receiver-1": frozenset({"of the successor"})}


def test_what_could_not_be_recorded_is_not_forgotten(database):
    touch(database, "dead", "a")

    def fail():
        raise OSError("the disk does not answer")

    with pytest.raises(OSError, match="does not answer"):
        neighbors(database, recover=fail).look_after()

    assert associations(database) == {"dead": frozenset({"a"})}


def test_nobody_is_judged_just_after_the_database_was_away(database):
    touch(database, "dead", "a")

    neighbors(database, keep=lambda: False).look_after()

    assert associations(database) == {"dead": frozenset({"a"})}
