"""A spool whose truth is an object store: two hosts, each with copies of its own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from dicomnode.errors import SpoolFull, StorageUnavailable
from dicomnode.model.instance import InstanceRef
from dicomnode.spool.bucket import Bucket
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import read_stored
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox
from dicomnode.spool.shared import Copies
from tests.support.ct import make_series

JOB = "1.2.5:abcdef0123456789:plain-1a2b3c4d"


class Shaky(Bucket):
    """A bucket that is away while it is told to be."""

    is_away = False

    def put(self, key, path):
        self._ask()
        super().put(key, path)

    def fetch(self, key, path):
        self._ask()
        return super().fetch(key, path)

    def _ask(self):
        if self.is_away:
            raise StorageUnavailable("away")


@pytest.fixture
def bucket():
    return Shaky(MemoryStore())


@pytest.fixture
def hosts(bucket, tmp_path):
    return [InstanceStore(tmp_path / name, reserve_bytes=0, shared=bucket) for name in "ab"]


def put(
    store: InstanceStore, data_set: bytes = b"content", *, sop_instance_uid: str = "1.2.3.4"
) -> InstanceRef:
    return store.store(
        pipeline="covid-ct",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=sop_instance_uid,
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.5",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title="CT1",
        data_set=data_set,
    )


def put_file(store: InstanceStore, path: Path) -> InstanceRef:
    meta, identity, data_set = read_stored(path)
    return store.store(
        pipeline="covid-ct",
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        calling_ae_title="CT1",
        data_set=bytes(data_set),
    )


def files(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file()]


def test_what_one_host_stores_another_reads(hosts):
    one, other = hosts

    ref = put(one, b"data set")

    assert other.has(ref.key)
    assert other.path(ref.key).read_bytes() == one.path(ref.key).read_bytes()
    assert other.source_ae_title(ref) == one.source_ae_title(ref)
    assert other.is_whole(ref)


def test_the_same_content_again_is_the_same_object_whoever_takes_it(hosts, bucket):
    one, other = hosts
    ref = put(one, b"data set")
    ((_key, stored_at, _size),) = bucket.list("instances")

    assert put(other, b"data set") == ref

    assert [(at, key) for key, at, _size in bucket.list("instances")] == [(stored_at, ref.key)]


def test_without_the_object_store_nothing_is_taken_and_nothing_stays(hosts, bucket, tmp_path):
    bucket.is_away = True

    with pytest.raises(SpoolFull, match="away"):
        put(hosts[0])

    assert files(tmp_path) == []


def test_a_removed_instance_is_gone_for_all(hosts, bucket):
    one, other = hosts
    ref, stays = put(one, b"gone"), put(one, b"stays", sop_instance_uid="1.2.9")
    other.path(ref.key)

    other.remove([ref.key, "instances/covid-ct/1.2.5/never.there.dcm"])

    assert not one.has(ref.key)
    assert not one.is_whole(ref)
    assert [key for key, *_ in bucket.list("instances")] == [stays.key]


def test_a_scan_finds_the_objects_whose_rows_are_missing(hosts, tmp_path):
    one, other = hosts
    known, unknown = (put_file(one, path) for path in make_series(tmp_path / "ct")[:2])

    found = list(other.scan(is_known={known.key}.__contains__))

    assert found == [("covid-ct", unknown)]


def test_a_copy_goes_that_nobody_used_and_comes_again_when_it_is_wanted(hosts, bucket, tmp_path):
    store = hosts[0]
    ref, used = put(store, b"old"), put(store, b"used", sop_instance_uid="1.2.9")
    for key in (ref.key, used.key):
        os.utime(tmp_path / "a" / key, (time.time() - 7200,) * 2)
    store.path(used.key)

    removed = Copies(bucket, tmp_path / "a", "instances").trim()

    assert removed == 1
    assert not (tmp_path / "a" / ref.key).exists()
    assert store.path(ref.key).is_file()


def test_results_reach_the_other_host_and_go_for_both(bucket, tmp_path):
    one, other = (Outbox(tmp_path / name, shared=bucket) for name in "ab")

    key = one.write(JOB, "seg.dcm", b"segmentation")

    assert other.path(key).read_bytes() == b"segmentation"
    other.remove(JOB)
    assert list(bucket.list("outbox")) == []


def test_results_of_a_job_that_nobody_knows_are_found_in_the_store(bucket, tmp_path):
    one, other = (Outbox(tmp_path / name, shared=bucket) for name in "ab")
    one.write(JOB, "seg.dcm", b"segmentation")
    asked = []

    def is_orphan(job_id, changed_at, *, is_work):
        asked.append((job_id, abs(changed_at - time.time()) < 60, is_work))
        return True

    assert other.remove_orphans(is_orphan) == 1
    assert asked == [(JOB, True, False)]
    assert list(bucket.list("outbox")) == []


def test_what_was_put_aside_is_listed_and_read_on_the_other_host(bucket, tmp_path):
    one, other = (Quarantine(tmp_path / name, shared=bucket) for name in "ab")

    identifier = one.keep(b"garbage", reason="not DICOM", facts={"pipeline": "chest"})
    other.keep(b"garbage", reason="not DICOM", facts={"pipeline": "chest"})

    (item,) = one.list()
    assert (item.id, item.count, item.reason) == (identifier, 2, "not DICOM")
    assert other.path(identifier).read_bytes() == b"garbage"


def test_the_quarantine_counts_what_all_hosts_have_put_there(bucket, tmp_path):
    one, other = (Quarantine(tmp_path / name, shared=bucket) for name in "ab")
    for content in (b"first", b"second"):
        one.keep(content, reason="no slice", facts={})

    assert (one.count(), other.count()) == (2, 2)
