"""Out of quarantine, into the series it belongs to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomnode.database import Database, open_database
from dicomnode.database.series_rows import list_series
from dicomnode.errors import StateError
from dicomnode.pipeline.release import release_instance
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_stored
from dicomnode.spool.quarantine import Quarantine
from tests.support.ct import make_series


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database("sqlite", data_dir=tmp_path / "data")
    yield opened
    opened.close()


def test_a_refused_data_set_goes_into_its_pipeline(tmp_path: Path, database: Database):
    path = make_series(tmp_path / "ct")[0]
    meta, identity, data_set = read_stored(path)
    quarantine = Quarantine(tmp_path / "data")
    facts = {
        "pipeline": "plain",
        "transfer_syntax_uid": meta.transfer_syntax_uid,
        "calling_ae_title": "CT1",
    }
    identifier = quarantine.keep(bytes(data_set), reason="made up", facts=facts)
    store = InstanceStore(tmp_path / "data", reserve_bytes=0)

    ref = release_instance(quarantine, identifier, store=store, database=database)

    assert ref.sop_instance_uid == identity.sop_instance_uid
    assert store.has(ref.key)
    with database.begin() as transaction:
        (series,) = list_series(transaction)
    assert (series.state, series.calling_ae_title) == ("open", "CT1")


def test_what_is_not_kept_whole_stays(tmp_path: Path, database: Database):
    quarantine = Quarantine(tmp_path / "data", max_item_bytes=10)
    identifier = quarantine.keep(b"x" * 100, reason="made up", facts={"pipeline": "plain"})
    store = InstanceStore(tmp_path / "data", reserve_bytes=0)
    with pytest.raises(StateError, match="only 10 of 100 bytes"):
        release_instance(quarantine, identifier, store=store, database=database)


def test_what_was_sent_to_no_pipeline_stays(tmp_path: Path, database: Database):
    quarantine = Quarantine(tmp_path / "data")
    identifier = quarantine.keep(b"x" * 100, reason="made up", facts={})
    store = InstanceStore(tmp_path / "data", reserve_bytes=0)
    with pytest.raises(StateError, match="no pipeline"):
        release_instance(quarantine, identifier, store=store, database=database)
