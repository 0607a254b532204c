"""Backup of a running node with the commands of docs/operations.md, and what its restore brings."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import psycopg
import pytest
from pydicom import dcmread

from dicomnode.config import load
from dicomnode.database.series_rows import list_keys, list_series
from dicomnode.node.composition import Node
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.instances import InstanceStore
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.node import wait_until, write_config
from tests.support.pages import ROOT, blocks
from tests.support.postgres import find_programs


@pytest.fixture
def commands():
    """The backup of SQLite as the page has it: database, sync, folders."""
    page = ROOT / "docs" / "operations.md"
    (block,) = [each for each in blocks(page, "sh") if each.is_run and "VACUUM INTO" in each.body]
    return block.body.splitlines()


@pytest.fixture
def start(tmp_path):
    """Start a receiving node on a data folder; whatever becomes of the test, it ends with it."""
    nodes = []

    def run(data, database="sqlite"):
        path = write_config(
            tmp_path / "etc" / "dicomnode.toml",
            data_dir=str(data),
            database={"url": database},
            receive={"port": 0, "reserve_bytes": 0, "headroom_bytes": 0},
            pipelines={"chest": {"ae_title": "CHEST", "destinations": ["out"]}},
            destinations={"out": {"kind": "folder", "path": str(tmp_path / "results")}},
        )
        node = Node(load(path), roles=frozenset(("receive",)))
        nodes.append(node)
        node.start()
        return node

    yield run
    for node in nodes:
        node.stop()


def send(node, files):
    to = AEAddress("CHEST", "127.0.0.1", node.receive_port)
    outcomes = send_instances(files, to=to, calling_ae_title="TEST", timeout_seconds=10)
    assert all(each.accepted for each in outcomes)


def keys(node):
    with node.database.begin() as transaction:
        return set(list_keys(transaction))


def counts(node):
    """Instances on record, by series."""
    with node.database.begin() as transaction:
        return {each.series_instance_uid: each.instance_count for each in list_series(transaction)}


def uid(files):
    return str(dcmread(files[0], stop_before_pixels=True).SeriesInstanceUID)


def shell(command, data, backup):
    here = command.replace("/var/lib/dicomnode", str(data)).replace("/backup", str(backup))
    subprocess.run(["bash", "-euc", here], check=True, timeout=60, capture_output=True)


def test_a_backup_of_a_running_node_is_whole_and_what_came_later_is_found(
    tmp_path, commands, start
):
    data, backup = tmp_path / "data", tmp_path / "backup"
    backup.mkdir()
    before = make_series(tmp_path / "before", shape_kji=(5, 9, 7))
    between = make_series(tmp_path / "between", shape_kji=(4, 9, 7), seed=2)
    after = make_series(tmp_path / "after", shape_kji=(3, 9, 7), seed=3)
    node = start(data)
    send(node, before)
    wait_until(lambda: len(keys(node)) == len(before), 10, "all have rows")

    *database, folders = commands
    for command in database:
        shell(command, data, backup)
    send(node, between)  # after the database was written, before its files are copied
    shell(folders, data, backup)
    send(node, after)
    node.stop()
    restored = start(backup)

    assert counts(restored) == {uid(before): len(before), uid(between): len(between)}
    store = InstanceStore(backup, reserve_bytes=0)
    assert {path.relative_to(backup).as_posix() for path in backup.glob("instances/*/*/*.dcm")} == (
        keys(restored)
    )
    assert list(store.scan(is_known=keys(restored).__contains__)) == []
    send(restored, after)  # and senders bring what was lost with the disk
    wait_until(lambda: counts(restored).get(uid(after)) == len(after), 10, "it is there")


def test_a_plain_copy_of_the_database_file_would_not_do(tmp_path, start):
    """Why the page says so: the rows are in the log beside it."""
    node = start(tmp_path / "data")
    files = make_series(tmp_path / "ct", shape_kji=(3, 9, 7))
    send(node, files)
    wait_until(lambda: len(keys(node)) == len(files), 10, "all have rows")
    copied = tmp_path / "copied.sqlite"
    copied.write_bytes((tmp_path / "data" / "dicomnode.sqlite").read_bytes())

    asked = subprocess.run(
        ["sqlite3", str(copied), "SELECT count(*) FROM instance"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert asked.stdout.strip() != str(len(files))


def test_a_dump_of_postgresql_is_restored_with_the_engine_s_tables(tmp_path, start, postgres):
    """With pg_dump and pg_restore as the page has them, into a database that holds other rows."""
    url, other = (postgres.new_database(is_empty=True) for _ in range(2))
    node = start(tmp_path / "data", url)
    files = make_series(tmp_path / "ct", shape_kji=(4, 9, 7))
    send(node, files)
    wait_until(lambda: len(keys(node)) == len(files), 10, "all have rows")
    dump = tmp_path / "dicomnode.dump"
    call(program("pg_dump"), "--format=custom", f"--file={dump}", url)
    node.stop()
    start(tmp_path / "elsewhere", other).stop()

    call(program("pg_restore"), "--clean", "--if-exists", f"--dbname={other}", dump)
    restored = start(tmp_path / "data", other)

    assert counts(restored) == {uid(files): len(files)}
    with psycopg.connect(url) as one, psycopg.connect(other) as two:
        tables = (
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname IN ('public', 'dbos')"
        )
        assert set(one.execute(tables)) == set(two.execute(tables))
        assert {schema for schema, _ in one.execute(tables)} == {"public", "dbos"}


def program(name):
    """Return a program of the server's own version: Debian keeps each in a folder of its own."""
    folders = [str(find_programs()), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.defpath]))
    assert found, f"{name} is not installed: run tools/test-peers"
    return found


def call(*command):
    subprocess.run([str(each) for each in command], check=True, timeout=60, capture_output=True)


def test_without_a_database_all_that_lies_there_is_recorded_anew(tmp_path, start):
    node = start(tmp_path / "data")
    files = make_series(tmp_path / "ct", shape_kji=(4, 9, 7))
    send(node, files)
    wait_until(lambda: len(keys(node)) == len(files), 10, "all have rows")
    known = keys(node)
    node.stop()
    for each in (tmp_path / "data").glob("dicomnode.sqlite*"):
        each.unlink()

    again = start(tmp_path / "data")

    assert keys(again) == known
    assert counts(again) == {uid(files): len(files)}


def test_the_data_folder_may_move(tmp_path, start):
    node = start(tmp_path / "data")
    files = make_series(tmp_path / "ct", shape_kji=(4, 9, 7))
    send(node, files)
    wait_until(lambda: len(keys(node)) == len(files), 10, "all have rows")
    known = keys(node)
    node.stop()
    subprocess.run(["cp", "-a", tmp_path / "data", tmp_path / "moved"], check=True, timeout=20)
    subprocess.run(["rm", "-r", tmp_path / "data"], check=True, timeout=20)

    moved = start(tmp_path / "moved")

    assert keys(moved) == known
    assert all((tmp_path / "moved" / key).is_file() for key in known)
