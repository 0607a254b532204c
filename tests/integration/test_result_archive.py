"""A real archive takes every result, by C-STORE and by STOW-RS, and gives back what it was sent."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest

from dicomnode.config import ScConfig, SegConfig
from dicomnode.results.capture import encode_captures
from dicomnode.results.part10 import encode_part10
from dicomnode.results.refusal import encode_refusal
from dicomnode.results.seg import encode_segmentation
from dicomnode.results.sr import encode_report
from dicomnode.send.store_scu import send_instances
from dicomnode.standard.ae import AEAddress
from tests.support.ct import make_series
from tests.support.findings import make_findings

DICOM_WEB = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
BOUNDARY = "result-boundary"


class Archive:
    """An Orthanc with DICOMweb: what it listens on, and its REST interface."""

    def __init__(self, http_port: int, dicom_port: int) -> None:
        self.address = AEAddress("ORTHANC", "127.0.0.1", dicom_port)
        self._url = f"http://127.0.0.1:{http_port}"

    def ask(
        self, path: str, body: bytes | None = None, method: str | None = None, **headers: str
    ) -> Any:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        request = urllib.request.Request(  # noqa: S310 - our own loopback address
            f"{self._url}{path}", data=body, headers=named, method=method
        )
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310
            return answer.read()

    def held(self) -> dict[str, bytes]:
        """Every instance it holds, by SOP Instance UID."""
        files = [self.ask(f"/instances/{key}/file") for key in json.loads(self.ask("/instances"))]
        return {str(pydicom.dcmread(BytesIO(each)).SOPInstanceUID): each for each in files}

    def empty(self) -> None:
        for key in json.loads(self.ask("/instances")):
            self.ask(f"/instances/{key}", method="DELETE")

    def stow(self, file: bytes) -> None:
        head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{BOUNDARY}--".encode()
        self.ask(
            "/dicom-web/studies",
            head + file + tail,
            Content_Type=f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
            Accept="application/dicom+json",
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Iterator[Archive]:
    program = shutil.which("Orthanc", path=f"{os.defpath}:/usr/sbin:/sbin")
    assert program is not None, "Orthanc is not installed: run tools/test-peers"
    folder = tmp_path_factory.mktemp("orthanc")
    http_port, dicom_port = free_port(), free_port()
    settings = {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomPort": dicom_port,
        "DicomAet": "ORTHANC",
        "DicomAlwaysAllowStore": True,
        "Plugins": [DICOM_WEB],
        "DicomWeb": {"Enable": True},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        running = Archive(http_port, dicom_port)
        pause, end = threading.Event(), time.monotonic() + 30
        while True:
            try:
                running.ask("/dicom-web/studies", Accept="application/dicom+json")
                break
            except (OSError, urllib.error.URLError):
                assert process.poll() is None, (folder / "log").read_text()[-2000:]
                assert time.monotonic() < end, "Orthanc did not answer"
                pause.wait(0.1)
        yield running
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> dict[str, bytes]:
    """One object of each kind, the label map last, on a patient whose name needs Unicode."""
    made = make_findings(
        make_series(tmp_path_factory.mktemp("ct"), PatientName="Wang^XiaoDong=王^小東", seed=5)
    )
    shared: dict[str, Any] = {"evidence": made.evidence, "context": made.context}

    def segment(**options: Any) -> pydicom.Dataset:
        segmentation = encode_segmentation(
            made.findings,
            volume_sources=made.sources,
            options=SegConfig(**options),
            **shared,
        )
        assert segmentation is not None
        return segmentation

    picture = np.random.default_rng(3).integers(0, 256, (8, 6, 3), dtype=np.uint8)
    captures = [
        encode_captures([picture] * 2, models=made.findings.models, options=form, **shared)[0]
        for form in (ScConfig(), ScConfig(form="multi-frame"))
    ]
    seg = segment()
    kinds = {
        "seg": seg,
        "sr": encode_report(made.findings, segmentation=seg, **shared),
        "refusal": encode_refusal(reason="missing_slices", sentence="A gap.", **shared),
        "sc": captures[0],
        "sc multi-frame": captures[1],
        "label map": segment(type="labelmap", compression="rle"),
    }
    return {kind: encode_part10(each) for kind, each in kinds.items()}


def assert_same(archive: Archive, sent: dict[str, bytes]) -> None:
    held = archive.held()
    for kind, file in sent.items():
        ours = pydicom.dcmread(BytesIO(file))
        theirs = pydicom.dcmread(BytesIO(held[str(ours.SOPInstanceUID)]))
        assert theirs == ours, kind
        assert theirs.file_meta.TransferSyntaxUID == ours.file_meta.TransferSyntaxUID, kind
    assert len(held) == len(sent)


def test_c_store_comes_back_unchanged(archive, results, tmp_path):
    # This version of Orthanc negotiates no Label Map Segmentation.
    sent = {kind: file for kind, file in results.items() if kind != "label map"}
    archive.empty()
    paths = []
    for kind, file in sent.items():
        paths.append(tmp_path / f"{kind}.dcm")
        paths[-1].write_bytes(file)

    outcomes = send_instances(
        paths, to=archive.address, calling_ae_title="DICOMNODE", timeout_seconds=20.0
    )

    assert [each.words for each in outcomes if not each.accepted] == []
    assert_same(archive, sent)


def test_stow_comes_back_unchanged(archive, results):
    archive.empty()

    for file in results.values():
        archive.stow(file)

    assert_same(archive, results)


def test_the_archive_finds_each_result_in_the_study(archive, results):
    archive.empty()
    for file in results.values():
        archive.stow(file)

    found = json.loads(
        archive.ask(
            "/dicom-web/series?includefield=SeriesDescription", Accept="application/dicom+json"
        )
    )

    modalities = sorted(each["00080060"]["Value"][0] for each in found)
    assert modalities == ["OT", "OT", "SEG", "SEG", "SR", "SR"]
    studies = {each["0020000D"]["Value"][0] for each in found}
    assert len(studies) == 1
