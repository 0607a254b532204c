"""The embedded server's log stays small, and its last words are the ones that matter."""

import errno
import shutil
from pathlib import Path

import pytest

from dicomnode.inference import server_log
from dicomnode.inference.server_log import ServerLog


@pytest.fixture
def log(tmp_path: Path) -> ServerLog:
    return ServerLog(tmp_path / "tritonserver.log")


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        ("", "it printed nothing"),
        ("starting\n\nbye\n", "bye"),
        ("starting\nerror: no room\nbye\n", "error: no room"),
        ("2026-01-01T00:00:00Z E 7 CudaDriverHelper: none\nbye\n", "bye"),
        (
            "2026-01-01T00:00:00Z E 7 model.cc:1] bad\nbye\n",
            "2026-01-01T00:00:00Z E 7 model.cc:1] bad",
        ),
    ],
    ids=["nothing", "no error", "an error", "no GPU is no error", "an error of its log"],
)
def test_the_last_error_is_its_last_word(log: ServerLog, printed: str, words: str):
    log.path.write_text(printed)

    assert log.last_words() == words


def test_a_large_log_gives_way_to_a_new_one_that_the_server_goes_on_with(
    log: ServerLog, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_log, "_LOG_BYTES", 100)
    with log.path.open("ab", buffering=0) as server:
        server.write(b"a" * 101)
        log.rotate()
        server.write(b"b")

    assert log.path.read_bytes() == b"b"
    assert log.path.with_suffix(".log.1").read_bytes() == b"a" * 101
    log.rotate()
    assert log.path.read_bytes() == b"b"


def test_a_disk_without_room_costs_the_older_lines_and_not_the_server(
    log: ServerLog, monkeypatch: pytest.MonkeyPatch
):
    def no_room(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(server_log, "_LOG_BYTES", 100)
    monkeypatch.setattr(shutil, "copyfile", no_room)
    log.path.write_bytes(b"a" * 101)

    log.rotate()

    assert log.path.read_bytes() == b""


def test_a_log_that_somebody_removed_has_no_last_words(log: ServerLog):
    assert log.last_words() == "it printed nothing"
