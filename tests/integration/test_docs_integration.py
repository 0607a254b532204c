"""docs/integration.md against a real Orthanc: its script routes, its entry admits the node."""

from __future__ import annotations

import gc
import json

import pytest
from pydicom import dcmread

from dicomnode.errors import SendError
from dicomnode.send.store_scu import send_instances
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.node import wait_until
from tests.support.orthanc import Orthanc
from tests.support.pacs import FlakyPacs
from tests.support.pages import ROOT, blocks

# pynetdicom leaves the socket of a connection that failed to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _leave_no_socket():
    """Have it collected here, not in the middle of another module's test."""
    yield
    gc.collect()


PAGE = ROOT / "docs" / "integration.md"


def shown(kind):
    (block,) = blocks(PAGE, kind)
    return block.body


@pytest.fixture
def node():
    """A storage SCP at the node's AE title; it keeps what Orthanc sends."""
    with FlakyPacs(ae_title="CHESTCT") as running:
        yield running


@pytest.fixture
def orthanc(tmp_path, node):
    """Orthanc as the page configures it; only addresses, ports and folders are this machine's."""
    settings = json.loads(shown("json"))
    entry = settings["DicomModalities"]["dicomnode"]
    assert (entry["AET"], entry["Port"]) == (node.ae_title, 11112)
    entry |= {"Host": "127.0.0.1", "Port": node.port}
    script = tmp_path / "dicomnode.lua"
    script.write_text(shown("lua"))
    settings |= {"LuaScripts": [str(script)], "StableAge": 1}
    del settings["DicomPort"]
    with Orthanc(tmp_path / "orthanc", ae_title="PACS", settings=settings) as running:
        yield running


def store(orthanc, paths, calling):
    to = AEAddress(orthanc.ae_title, "127.0.0.1", orthanc.dicom_port)
    return send_instances(paths, to=to, calling_ae_title=calling, timeout_seconds=10)


def test_a_ct_series_is_routed_in_one_association_and_results_are_not(tmp_path, orthanc, node):
    ct = make_series(tmp_path / "ct", shape_kji=(4, 9, 7))
    result = make_series(tmp_path / "sr", shape_kji=(3, 9, 7), seed=2, Modality="SR")

    for each in (ct, result):
        outcomes = store(orthanc, each, calling="CHESTCT")
        assert all(one.accepted for one in outcomes)

    arrived = node.wait_for(len(ct), timeout=30)
    assert {each.sop_instance_uid for each in arrived} == {
        str(dcmread(path).SOPInstanceUID) for path in ct
    }
    assert {each.calling_ae_title for each in arrived} == {"PACS"}
    assert node.associations == 1
    # Something that is routed after the results would have been: nothing of them came.
    later = make_series(tmp_path / "later", shape_kji=(3, 9, 7), seed=3)
    store(orthanc, later, calling="CHESTCT")
    routed = {str(dcmread(path).SOPInstanceUID) for path in (*ct, *later)}
    wait_until(lambda: routed <= set(node.uids()), 30, "the later series came")
    assert set(node.uids()) == routed


def test_only_the_node_s_ae_title_may_store_results(tmp_path, orthanc):
    ct = make_series(tmp_path / "ct", shape_kji=(3, 9, 7))

    assert all(each.accepted for each in store(orthanc, ct, calling="CHESTCT"))
    with pytest.raises(SendError):
        store(orthanc, ct, calling="SOMEBODY")
