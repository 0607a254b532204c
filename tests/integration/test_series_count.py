"""Asking an archive how many instances a series has (C-FIND, Study Root), with DCMTK's archive."""

import os
import shutil
import socket
import subprocess
import threading
import time

import pydicom
import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind

from dicomnode.errors import SendError
from dicomnode.send.find_scu import count_series_instances
from dicomnode.send.store_scu import send_instances
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series


def _listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """DCMTK's dcmqrscp on a free port."""
    tool = shutil.which("dcmqrscp", path=os.defpath)
    assert tool is not None, "wanted Debian's dcmtk"
    folder = tmp_path_factory.mktemp("archive")
    (folder / "db").mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nARCHIVE {folder / 'db'} RW (200, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(
        [tool, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    address = AEAddress("ARCHIVE", "127.0.0.1", port)
    end = time.monotonic() + 10
    while not _listens(port):
        assert time.monotonic() < end, "dcmqrscp did not start"
        threading.Event().wait(0.1)  # nothing else says that it listens
    yield address
    process.kill()
    process.wait()


def _count(address, ds, **changes):
    asked = {
        "study_instance_uid": str(ds.StudyInstanceUID),
        "series_instance_uid": str(ds.SeriesInstanceUID),
    } | changes
    return count_series_instances(address, calling_ae_title="NODE", timeout_seconds=5.0, **asked)


def test_an_archive_says_how_many_instances_a_series_has(archive, tmp_path):
    paths = make_series(tmp_path, shape_kji=(7, 20, 24))
    outcomes = send_instances(paths, to=archive, calling_ae_title="NODE", timeout_seconds=10.0)
    assert all(each.accepted for each in outcomes)
    ds = pydicom.dcmread(paths[0], stop_before_pixels=True)

    assert _count(archive, ds) in {7, None}
    assert _count(archive, ds, series_instance_uid="1.2.3.4.5") is None


@pytest.fixture
def peer():
    """A Query SCP that answers what it is told to."""
    answers = []

    def find(_event):
        yield from answers

    ae = AE(ae_title="ARCHIVE")
    ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, find)])
    yield AEAddress("ARCHIVE", "127.0.0.1", server.server_address[1]), answers
    server.shutdown()


def _match(series, count):
    ds = pydicom.Dataset()
    ds.QueryRetrieveLevel = "SERIES"
    ds.StudyInstanceUID = "1.2"
    ds.SeriesInstanceUID = series
    ds.NumberOfSeriesRelatedInstances = count
    return 0xFF00, ds


@pytest.mark.parametrize(
    ("matches", "expected"),
    [
        ([("1.2.3", 300)], 300),
        ([("1.2.4", 9), ("1.2.3", 300), ("1.2.5", 7)], 300),
        ([], None),
        ([("1.2.4", 9)], None),
        ([("1.2.3", "")], None),
        ([("1.2.3", 0)], None),
    ],
)
def test_only_the_count_of_the_series_itself_counts(peer, matches, expected):
    address, answers = peer
    answers += [_match(*each) for each in matches]

    assert (
        count_series_instances(
            address,
            calling_ae_title="NODE",
            study_instance_uid="1.2",
            series_instance_uid="1.2.3",
            timeout_seconds=5.0,
        )
        == expected
    )


def test_an_archive_that_refuses_the_query_is_an_error_with_its_status(peer):
    address, answers = peer
    answers.append((0xA700, None))
    ds = pydicom.Dataset()
    ds.StudyInstanceUID = ds.SeriesInstanceUID = "1.2.3"

    with pytest.raises(SendError, match="0xA700"):
        _count(address, ds)
