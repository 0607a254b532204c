"""The main job: a CT goes in by C-STORE, SEG and SR come out at the destination AE."""

from __future__ import annotations

import pytest
from pydicom import dcmread

from dicomnode.demo.phantom import chest_ct
from tests.acceptance.conftest import PHANTOM
from tests.acceptance.results import assert_results_fit, fetch_results, grid_of, masks_by_highdicom
from tests.support.node import (
    ACKNOWLEDGED,
    NodeProcess,
    pipeline,
    storescu,
    wait_until,
    write_config,
)


@pytest.fixture(scope="module")
def node(tmp_path_factory, orthanc):
    config = write_config(
        tmp_path_factory.mktemp("node") / "dicomnode.toml",
        pipelines=pipeline("pacs"),
        destinations={
            "pacs": {
                "kind": "dimse",
                "ae_title": orthanc.ae_title,
                "host": "127.0.0.1",
                "port": orthanc.dicom_port,
            }
        },
    )
    with NodeProcess(config, installed=True) as running:
        yield running


@pytest.fixture(scope="module")
def phantom(tmp_path_factory, write_phantom):
    return write_phantom(tmp_path_factory.mktemp("phantom"))


@pytest.fixture(scope="module")
def results(node, orthanc, phantom):
    """What came to Orthanc for the phantom, sent once."""
    before = orthanc.instances()
    sent = storescu(node, phantom)
    assert sent.returncode == 0, sent.stdout
    assert sent.stdout.count(ACKNOWLEDGED) == len(phantom)
    node.wait_for_delivery()
    return fetch_results(orthanc, before=before)


def test_a_series_comes_back_as_seg_and_sr_on_its_grid(results, phantom, tmp_path):
    seg, sr = results

    assert_results_fit(seg, sr, phantom, tmp_path)


def test_seg_and_sr_belong_to_the_patient_and_study_of_the_ct(results, phantom):
    ct = dcmread(phantom[0], stop_before_pixels=True)

    for each in results:
        assert each.PatientID == ct.PatientID
        assert each.PatientName == ct.PatientName
        assert each.StudyInstanceUID == ct.StudyInstanceUID
        assert each.SeriesInstanceUID != ct.SeriesInstanceUID


def test_the_lungs_are_those_of_the_phantom(results, phantom):
    seg, _ = results
    masks = masks_by_highdicom(seg, grid_of(phantom))
    _, truth = chest_ct(**PHANTOM)

    for label, number in (("Left lung", 1), ("Right lung", 2)):
        wanted = truth == number
        dice = 2 * (masks[label] & wanted).sum() / (masks[label].sum() + wanted.sum())
        assert dice > 0.95, f"{label}: Dice {dice:.3f}"


def test_the_same_series_sent_again_changes_nothing(results, node, orthanc, phantom):
    jobs, stored = node.jobs(), orthanc.store_requests()

    assert storescu(node, phantom).returncode == 0
    # The end of the association is the last that the node hears of it.
    wait_until(
        lambda: len([e for e in node.log("association_ended") if "pipeline" in e]) >= 2,
        10,
        "the second association ended",
    )

    assert node.get("/api/v1/series?state=open") == []
    assert node.jobs() == jobs
    assert orthanc.store_requests() == stored
    assert set(orthanc.instances()) >= {each.SOPInstanceUID for each in results}


@pytest.mark.cases
@pytest.mark.parametrize(
    "name", ["lidc-idri-0001", pytest.param("cmb-crc-msb-01068-lung", marks=pytest.mark.slow)]
)
def test_a_real_series_comes_back_as_seg_and_sr_on_its_grid(name, unpack, node, orthanc, tmp_path):
    paths = unpack(name)
    before = orthanc.instances()

    sent = storescu(node, paths)
    assert sent.returncode == 0, sent.stdout
    node.wait_for_delivery(series=grid_of(paths).series_instance_uid, seconds=180)

    seg, sr = fetch_results(orthanc, before=before)
    assert_results_fit(seg, sr, paths, tmp_path / "judge")


def test_the_node_is_ready_and_says_so(node):
    assert node.get("/readyz")["ready"] is True


@pytest.mark.usefixtures("results")
def test_nothing_of_a_patient_is_logged(node, phantom):
    ct = dcmread(phantom[0], stop_before_pixels=True)

    for value in (str(ct.PatientName), ct.PatientID, ct.AccessionNumber, ct.StudyDescription):
        assert value not in node.log_text()
