"""`echo` and `send`: what is said of a peer, and of one that is not there."""

from __future__ import annotations

import json

import pytest

from tests.support.ct import make_series
from tests.support.pacs import FlakyPacs

# pynetdicom leaves the socket of a connection that was refused to the garbage collector.
NOBODY_LEAKS = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def pacs():
    with FlakyPacs() as running:
        yield running


def test_echo_of_a_peer(run, pacs):
    ended = run("echo", pacs.address)

    assert ended.exit_code == 0
    assert f"{pacs.address} answered in" in ended.stdout


def test_echo_as_json(run, pacs):
    answer = json.loads(run("echo", pacs.address, "--json").stdout)

    assert answer["address"] == str(pacs.address)
    assert answer["seconds"] > 0


@NOBODY_LEAKS
def test_echo_of_nobody(run, nobody):
    ended = run("echo", nobody, "--timeout", "2")

    assert ended.exit_code == 69
    assert ended.stdout == ""
    assert ended.stderr.strip()


def test_echo_of_a_peer_that_rejects(run, pacs):
    pacs.reject(transient=False)

    ended = run("echo", pacs.address)

    assert ended.exit_code == 1
    assert "reject" in ended.stderr.lower()


def test_send_of_a_folder(run, pacs, tmp_path):
    paths = make_series(tmp_path / "ct")
    (tmp_path / "ct" / "notes.txt").write_text("no DICOM")

    ended = run("send", tmp_path / "ct", "--to", pacs.address, "--from", "CT1")

    assert ended.exit_code == 0
    assert f"{len(paths)} of {len(paths)} accepted by {pacs.address}" in ended.stdout
    assert f"{len(paths)}/{len(paths)}" in ended.stderr  # the bar, at its end
    assert "notes.txt" in ended.stderr
    received = pacs.wait_for(len(paths))
    assert len({each.sop_instance_uid for each in received}) == len(paths)
    assert {each.calling_ae_title.strip() for each in received} == {"CT1"}


def test_send_as_json_tells_each_instance(run, pacs, tmp_path):
    paths = make_series(tmp_path / "ct")
    pacs.refuse(0xA900, times=1)

    ended = run("send", *paths, "--to", pacs.address, "--json")

    assert ended.exit_code == 1
    outcomes = json.loads(ended.stdout)
    assert sorted(each["path"] for each in outcomes) == sorted(map(str, paths))
    assert [each["accepted"] for each in outcomes].count(False) == 1
    assert {each["status"] for each in outcomes} == {0, 0xA900}


def test_send_of_no_dicom(run, pacs, tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM")

    ended = run("send", tmp_path / "notes.txt", "--to", pacs.address)

    assert ended.exit_code == 1
    assert "no DICOM instance was found" in ended.stderr
    assert pacs.associations == 0


@NOBODY_LEAKS
def test_send_to_nobody(run, nobody, tmp_path):
    ended = run("send", *make_series(tmp_path / "ct"), "--to", nobody, "--timeout", "2")

    assert ended.exit_code == 69
