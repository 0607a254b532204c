"""Where received instances lie, and what may not happen to them."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydicom import dcmread

from dicomnode.errors import InstanceUnreadable, SpoolFull, StateError
from dicomnode.model.instance import InstanceRef
from dicomnode.spool.digest import Digest
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.part10 import encode_header, read_stored
from dicomnode.spool.quarantine import Quarantine
from tests.support.ct import make_series

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def store(tmp_path):
    return InstanceStore(tmp_path / "spool", reserve_bytes=0)


def put(store: InstanceStore, data_set: bytes = b"content", **changes: object) -> InstanceRef:
    values = {
        "pipeline": "covid-ct",
        "sop_class_uid": CT,
        "sop_instance_uid": "1.2.3.4",
        "study_instance_uid": "1.2.3",
        "series_instance_uid": "1.2.5",
        "transfer_syntax_uid": EXPLICIT,
        "calling_ae_title": "CT1",
        "data_set": data_set,
    }
    return store.store(**(values | changes))


def put_file(store: InstanceStore, path: Path, pipeline: str = "covid-ct") -> InstanceRef:
    meta, identity, data_set = read_stored(path)
    return store.store(
        pipeline=pipeline,
        sop_class_uid=identity.sop_class_uid,
        sop_instance_uid=identity.sop_instance_uid,
        study_instance_uid=identity.study_instance_uid,
        series_instance_uid=identity.series_instance_uid,
        transfer_syntax_uid=meta.transfer_syntax_uid,
        calling_ae_title="CT1",
        data_set=data_set,
    )


def test_the_reference_says_what_was_stored_and_where(store):
    digest = Digest(b"content").hexdigest()

    ref = put(store)

    assert ref == InstanceRef(
        sop_class_uid=CT,
        sop_instance_uid="1.2.3.4",
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.5",
        transfer_syntax_uid=EXPLICIT,
        digest=digest,
        size_bytes=7,
        key=f"instances/covid-ct/1.2.5/1.2.3.4.{digest[:16]}.dcm",
    )
    assert store.path(ref.key).read_bytes().endswith(b"content")


def test_the_data_set_is_stored_byte_for_byte(store, tmp_path):
    source = make_series(tmp_path / "ct")[0]

    ref = put_file(store, source)

    stored = dcmread(store.path(ref.key))
    assert read_stored(store.path(ref.key))[2] == read_stored(source)[2]
    assert stored.PixelData == dcmread(source).PixelData
    assert stored.file_meta.SourceApplicationEntityTitle == "CT1"


@pytest.mark.parametrize("at_most", [100, 500])
def test_a_write_that_takes_part_of_it_is_gone_on_with(store, tmp_path, monkeypatch, at_most):
    path = make_series(tmp_path / "ct")[0]
    real = os.writev
    # In the file meta information, and in the data set.
    monkeypatch.setattr(
        os, "writev", lambda descriptor, parts: real(descriptor, [b"".join(parts)[:at_most]])
    )

    ref = put_file(store, path)

    meta, identity, data_set = read_stored(store.path(ref.key))
    assert data_set == read_stored(path)[2]
    assert (meta.source_ae_title, identity.sop_instance_uid) == ("CT1", ref.sop_instance_uid)


def test_the_same_content_again_is_the_same_file_not_written_again(store):
    first = put(store)
    written = store.path(first.key).stat()

    second = put(store, calling_ae_title="ANOTHER")

    assert second == first
    assert store.path(first.key).stat().st_ino == written.st_ino


def test_different_content_of_one_instance_uid_is_kept_apart(store):
    first, second = put(store, b"first"), put(store, b"second")

    assert first.key != second.key
    assert store.path(first.key).read_bytes().endswith(b"first")
    assert store.path(second.key).read_bytes().endswith(b"second")


def test_a_damaged_file_is_replaced_when_the_instance_comes_again(store):
    ref = put(store)
    path = store.path(ref.key)
    path.write_bytes(path.read_bytes()[:-3])

    put(store)

    assert path.read_bytes().endswith(b"content")


def test_the_reference_names_the_transfer_syntax_of_the_file_that_is_there(store):
    put(store)

    again = put(store, transfer_syntax_uid="1.2.840.10008.1.2.4.70")

    assert again.transfer_syntax_uid == EXPLICIT


@pytest.mark.parametrize(
    "uid",
    [
        "",
        "..",
        "../../etc/passwd",
        "1.2\x00.3",
        "1." + "2" * 63,
        "1.2/3",
        "1.2.03",
        "Doe^Jane",
        "1",
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        "sop_class_uid",
        "sop_instance_uid",
        "study_instance_uid",
        "series_instance_uid",
        "transfer_syntax_uid",
    ],
)
def test_what_is_no_uid_never_becomes_a_path(store, tmp_path, uid, name):
    before = sorted(tmp_path.rglob("*"))

    with pytest.raises(InstanceUnreadable) as caught:
        put(store, **{name: uid})

    assert "Doe" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_reserve_is_never_touched(tmp_path):
    free = os.statvfs(tmp_path)
    store = InstanceStore(tmp_path, reserve_bytes=free.f_bavail * free.f_frsize + 10**12)

    with pytest.raises(SpoolFull, match="reserve"):
        put(store)

    assert list(tmp_path.glob("instances/*")) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
def test_a_file_system_that_refuses_is_out_of_resources(store, monkeypatch, number):
    def fail(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(SpoolFull) as caught:
            put(store)

    assert caught.value.status == 0xA700
    assert isinstance(caught.value.__cause__, OSError)
    assert list(store.scan()) == []


@pytest.mark.parametrize(
    "key",
    [
        "",
        "instances",
        "instances/",
        "instances/../secret",
        "/etc/passwd",
        "outbox/a/b",
        "instances/a//b",
        "instances/./a",
        "instances/a\x00b",
        "instances\\a",
        "../instances/a",
    ],
)
def test_a_key_that_leads_elsewhere_is_refused(store, key):
    with pytest.raises(StateError):
        store.path(key)


def test_a_key_through_a_link_out_of_the_spool_is_refused(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "spool" / "instances" / "link").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StateError, match="out of the spool"):
        store.path("instances/link/secret.dcm")


def test_a_scan_finds_what_was_stored_with_its_pipeline(store, tmp_path):
    files = make_series(tmp_path / "ct")
    stored = {("a", put_file(store, files[0], "a")), ("b", put_file(store, files[0], "b"))}
    stored.add(("a", put_file(store, files[1], "a")))

    assert set(store.scan()) == stored


def test_a_scan_tells_first_what_was_stored_first(store, tmp_path):
    stored = []
    for file in reversed(make_series(tmp_path / "ct")):
        last = max((store.path(ref.key).stat().st_ctime_ns for ref in stored), default=0)
        while tmp_path.stat().st_ctime_ns <= last:  # the clock of files ticks slowly
            os.utime(tmp_path)
        stored.append(put_file(store, file))

    assert [ref for _, ref in store.scan()] == stored


def test_a_scan_does_not_read_what_is_known(store, tmp_path):
    files = make_series(tmp_path / "ct")
    known, unknown = put_file(store, files[0]), put_file(store, files[1])

    found = list(store.scan(is_known=lambda key: key == known.key))

    assert found == [("covid-ct", unknown)]


def test_a_file_that_could_not_be_synced_is_not_left_under_its_name(store, monkeypatch):
    """What failed to sync may be clean in memory and absent on the disk: it must not be found."""
    put(store, b"first", sop_instance_uid="1.2.3.9")
    sync = os.fsync

    def fail_for_files(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().is_file():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail_for_files)
        with pytest.raises(SpoolFull):
            put(store)

    folder = store.path("instances/covid-ct/1.2.5/any").parent
    assert [path.name.split(".")[3] for path in folder.iterdir()] == ["9"]
    assert store.path(put(store).key).exists()


def test_content_and_entry_are_synced_under_the_final_name(store, monkeypatch):
    synced = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve())
        sync(descriptor)

    put(store)
    monkeypatch.setattr(os, "fsync", note)
    path = store.path(put(store, b"second").key)

    assert synced == [path, path.parent]


def test_the_file_tells_who_sent_it(store):
    assert store.source_ae_title(put(store)) == "CT1"


def test_what_is_still_coming_is_no_instance_and_a_dead_writers_rest_is_removed(store, tmp_path):
    uids = {"sop_class_uid": CT, "sop_instance_uid": "1.2.3.4"}
    coming = store.open(**uids, transfer_syntax_uid=EXPLICIT, calling_ae_title="CT1")
    coming.write(b"half")
    leftover = tmp_path / "spool" / "incoming" / "77-0.part"
    leftover.write_bytes(b"half")

    assert list(store.scan()) == []

    assert not leftover.exists()
    assert len(list((tmp_path / "spool" / "incoming").iterdir())) == 1
    coming.discard()
    assert list((tmp_path / "spool" / "incoming").iterdir()) == []


def test_a_scan_removes_leftovers(store, tmp_path):
    ref = put_file(store, make_series(tmp_path / "ct")[0])
    leftover = store.path(ref.key).parent / ".77-0-1.2.dcm.part"
    leftover.write_bytes(b"half")

    found = list(store.scan())

    assert [each.key for _, each in found] == [ref.key]
    assert not leftover.exists()


@pytest.mark.parametrize("damage", ["cut", "garbage", "renamed", "elsewhere", "empty"])
def test_a_scan_puts_aside_what_is_not_what_its_name_says(store, tmp_path, damage):
    path = store.path(put_file(store, make_series(tmp_path / "ct")[0]).key)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-100])
    elif damage == "garbage":
        path.write_bytes(b"garbage")
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "renamed":
        path = path.rename(path.with_name("1.2.3.0123456789abcdef.dcm"))
    else:
        (path.parent.parent / "1.2.3").mkdir()
        path = path.rename(path.parent.parent / "1.2.3" / path.name)
    content = path.read_bytes()

    assert list(store.scan()) == []

    quarantine = Quarantine(tmp_path / "spool")
    (item,) = quarantine.list()
    assert quarantine.path(item.id).read_bytes() == content
    assert item.facts == {"key": path.relative_to(tmp_path / "spool").as_posix()}
    assert item.reason
    assert not path.exists()


def test_a_removed_instance_can_be_received_again(store):
    ref = put(store)
    store.remove([ref.key])

    put(store)

    assert store.path(ref.key).exists()


def test_threads_that_store_the_same_and_different_instances_lose_none(store):
    def store_one(number: int) -> InstanceRef:
        return put(store, b"x" * 5000 + bytes([number % 8]), sop_instance_uid=f"1.9.{number % 8}")

    with ThreadPoolExecutor(8) as pool:
        refs = list(pool.map(store_one, range(64)))

    assert len({ref.key for ref in refs}) == 8
    header = encode_header(
        sop_class_uid=CT,
        sop_instance_uid="1.9.0",
        transfer_syntax_uid=EXPLICIT,
        source_ae_title="CT1",
    )
    assert {store.path(ref.key).stat().st_size for ref in refs} == {len(header) + 5001}


def test_a_file_that_goes_away_during_a_scan_is_none(store, tmp_path):
    """Other receivers go on: what they decide not to keep they remove."""
    for path in make_series(tmp_path / "ct")[:3]:
        put_file(store, path)
    stored = [ref for _, ref in store.scan()]  # one tick of the clock may see them all
    found = store.scan()
    assert next(found)[1] == stored[0]
    store.discard(stored[1])

    assert [ref for _, ref in found] == [stored[2]]
