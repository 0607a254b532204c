"""Whether a destination is there: asked by C-ECHO, over HTTP, or by writing into a folder."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dicomnode.config import DicomwebDestination, DimseDestination
from dicomnode.database import open_database
from dicomnode.database.check_rows import list_checks
from dicomnode.pipeline.checking import check_destination
from dicomnode.receive.archive import Archive


@pytest.fixture
def database(tmp_path):
    opened = open_database("sqlite", data_dir=tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def archive(tmp_path):
    started = Archive(tmp_path / "archive")
    started.start()
    yield started
    started.stop()


def check(database, destination):
    return check_destination(database, "there", destination, calling_ae_title="NODE")


def test_a_peer_that_answers_is_there_and_it_is_on_record(database, archive):
    peer = DimseDestination(kind="dimse", ae_title="ARCHIVE", host="127.0.0.1", port=archive.port)

    said = check(database, peer)

    assert said.is_ok
    assert "answered the C-ECHO" in said.words
    with database.begin() as transaction:
        assert list_checks(transaction) == {"there": said}


def test_a_peer_that_rejects_us_says_so(database, archive):
    peer = DimseDestination(kind="dimse", ae_title="OTHER", host="127.0.0.1", port=archive.port)

    said = check(database, peer)

    assert not said.is_ok
    assert "called AE title not recognized" in said.words


def test_the_last_answer_replaces_the_one_before(database, archive):
    peer = DimseDestination(kind="dimse", ae_title="ARCHIVE", host="127.0.0.1", port=archive.port)
    check(database, peer)

    said = check(database, peer.model_copy(update={"ae_title": "OTHER"}))

    assert not said.is_ok
    with database.begin() as transaction:
        assert list_checks(transaction)["there"].is_ok is False


@pytest.fixture
def web():
    """A web service that answers whatever status it is told to."""

    class Handler(BaseHTTPRequestHandler):
        status = 200
        asked = ""

        def do_GET(self):
            Handler.asked = self.path
            self.send_response(Handler.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server, Handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("status", "is_ok"),
    [(200, True), (204, True), (405, True), (401, False), (404, False), (503, False)],
)
def test_a_web_service_is_asked_for_one_study(database, web, status, is_ok):
    server, handler = web
    handler.status = status
    url = f"http://127.0.0.1:{server.server_address[1]}/dicom-web"

    said = check(database, DicomwebDestination(kind="dicomweb", url=url))

    assert said.is_ok is is_ok
    assert f"HTTP status {status}" in said.words
    assert handler.asked == "/dicom-web/studies?limit=1"


def test_a_web_service_that_is_not_there_says_so(database):
    said = check(database, DicomwebDestination(kind="dicomweb", url="http://127.0.0.1:1"))

    assert not said.is_ok
    assert "cannot be reached" in said.words
