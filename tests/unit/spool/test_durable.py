"""A file is there whole or not at all."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode.spool import durable
from dicomnode.spool.digest import Digest
from dicomnode.spool.durable import (
    make_folder_durably,
    move_durably,
    read_chunks,
    remove_leftovers,
    write_durably,
)


def test_content_stands_under_its_name_and_nothing_else_does(tmp_path):
    path = tmp_path / "a" / "b" / "file.bin"

    write_durably(path, b"content")

    assert path.read_bytes() == b"content"
    assert [each.name for each in path.parent.iterdir()] == ["file.bin"]


def test_chunks_are_written_one_after_the_other(tmp_path):
    write_durably(tmp_path / "file", (b"head", memoryview(b"body"), b""))

    assert (tmp_path / "file").read_bytes() == b"headbody"


def test_an_older_file_is_replaced(tmp_path):
    write_durably(tmp_path / "file", b"a longer, older content")
    write_durably(tmp_path / "file", b"new")

    assert (tmp_path / "file").read_bytes() == b"new"


def test_file_is_synced_before_it_gets_its_name_and_the_folder_after(tmp_path, monkeypatch):
    synced: list[tuple[str, bool]] = []
    real = os.fsync

    def record(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        synced.append((name, (tmp_path / "folder" / "file").exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", record)

    write_durably(tmp_path / "folder" / "file", b"content")

    names = [name for name, _ in synced]
    assert tmp_path.name in names  # the entry of the new folder
    part = next(index for index, name in enumerate(names) if name.endswith(".part"))
    assert synced[part][1] is False
    assert synced[-1] == ("folder", True)
    assert names.index(tmp_path.name) < part


def test_a_failing_write_leaves_the_old_file_and_no_leftover(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_durably(path, b"old")

    def fail(_descriptor: int, _content: memoryview) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", fail)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")

    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_vanishes_is_made_again(tmp_path):
    folder = tmp_path / "series"
    write_durably(folder / "one", b"1")
    (folder / "one").unlink()
    folder.rmdir()

    write_durably(folder / "two", b"2")

    assert (folder / "two").read_bytes() == b"2"


def test_leftovers_of_the_dead_are_removed_and_work_in_progress_is_not(tmp_path):
    dead, alive = tmp_path / "x" / ".1-dead.part", tmp_path / "x" / ".2-alive.part"
    make_folder_durably(dead.parent)
    dead.write_bytes(b"half")
    with alive.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)

        removed = remove_leftovers(tmp_path)

        assert removed == 1
        assert alive.exists()
    assert not dead.exists()


def test_a_moved_file_is_whole_at_its_new_place(tmp_path):
    (tmp_path / "from").write_bytes(b"content")

    move_durably(tmp_path / "from", tmp_path / "new" / "to")

    assert (tmp_path / "new" / "to").read_bytes() == b"content"
    assert not (tmp_path / "from").exists()


def test_chunks_read_are_the_content(tmp_path):
    (tmp_path / "file").write_bytes(b"0123456789")

    assert list(read_chunks(tmp_path / "file", chunk_bytes=4)) == [b"0123", b"4567", b"89"]


def test_what_can_be_read_once_is_written_once(tmp_path):
    (tmp_path / "source").write_bytes(b"0123456789" * 1000)

    write_durably(tmp_path / "copy", read_chunks(tmp_path / "source", chunk_bytes=999))

    assert (tmp_path / "copy").read_bytes() == (tmp_path / "source").read_bytes()


WRITER = """
import hashlib, sys
from pathlib import Path
from dicomnode.spool.instances import InstanceStore

store = InstanceStore(Path(sys.argv[1]), reserve_bytes=0)
number = 0
while True:
    number += 1
    content = hashlib.sha256(str(number).encode()).digest() * 4096
    ref = store.store(
        pipeline="ct", sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid=f"1.2.{number}", study_instance_uid="1.3.1",
        series_instance_uid=f"1.4.{number % 7}", transfer_syntax_uid="1.2.840.10008.1.2.1",
        calling_ae_title="CT1", data_set=content,
    )
    print(ref.key, ref.digest, flush=True)
"""


@pytest.mark.parametrize("acknowledged_before_kill", [1, 9, 30, 61])
def test_after_kill_9_every_acknowledged_instance_is_whole(tmp_path, acknowledged_before_kill):
    from dicomnode.spool.part10 import read_file_meta

    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    lines = [writer.stdout.readline() for _ in range(acknowledged_before_kill)]
    writer.send_signal(signal.SIGKILL)
    lines += writer.stdout.read().splitlines(keepends=True)
    writer.stdout.close()
    writer.wait()

    acknowledged = [line.split() for line in lines if line.endswith("\n")]
    assert len(acknowledged) >= acknowledged_before_kill
    for key, digest in acknowledged:
        with (tmp_path / key).open("rb") as file:
            read_file_meta(file)
            assert Digest(file.read()).hexdigest() == digest
    # Nothing that stands under a final name is half, acknowledged or not.
    remove_leftovers(tmp_path)
    for path in tmp_path.glob("instances/*/*/*"):
        with path.open("rb") as file:
            read_file_meta(file)
            assert path.name.split(".")[-2] == Digest(file.read()).hexdigest()[:16]


def test_the_memory_of_durable_folders_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_FOLDERS_REMEMBERED", 3)
    for number in range(8):
        write_durably(tmp_path / str(number) / "file", b"x")

    assert len(durable._durable_folders) <= 3
