"""Deliveries to real and to misbehaving peers: what is retried, replaced, recorded, returned."""

from __future__ import annotations

import base64
import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread

from dicomnode.config import DicomwebDestination
from dicomnode.database import open_database
from dicomnode.errors import DestinationRefused, DestinationUnavailable
from dicomnode.send.stow import StowClient
from tests.support.pacs import FlakyPacs
from tests.support.results import EndedJob, end_job
from tests.support.web_archive import PASSWORD, USER, WebArchive

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR_3D = "1.2.840.10008.5.1.4.1.1.88.34"
COMPREHENSIVE = "1.2.840.10008.5.1.4.1.1.88.33"
ENHANCED = "1.2.840.10008.5.1.4.1.1.88.22"


@pytest.fixture
def job(tmp_path: Path) -> Iterator[EndedJob]:
    database = open_database("sqlite", data_dir=tmp_path / "data")
    yield end_job(tmp_path, database)
    database.close()


def dimse(pacs: FlakyPacs, **more: Any) -> dict[str, Any]:
    return {
        "kind": "dimse",
        "ae_title": pacs.ae_title,
        "host": "127.0.0.1",
        "port": pacs.port,
        "timeout_seconds": 5,
    } | more


# -- the ladder


def test_an_archive_without_seg_gets_the_report_and_the_reason_is_recorded(job: EndedJob):
    with FlakyPacs(sop_classes=[SR_3D]) as pacs:
        assert job.deliver(job.delivery(pacs=dimse(pacs)), "pacs") == "delivered"

        assert pacs.uids() == [job.uids["sr"]]
        seg = job.objects("pacs")["seg"]
        assert not seg["accepted"]
        assert seg["fallback"] == ["sr.dcm"]
        assert "no presentation context" in str(seg["words"])


@pytest.mark.parametrize(("sop_class", "kind"), [
    (COMPREHENSIVE, "comprehensive-sr"),
    (ENHANCED, "enhanced-sr"),
])  # fmt: skip
def test_an_archive_that_knows_only_simpler_reports_gets_one(
    job: EndedJob, tmp_path: Path, sop_class: str, kind: str
):
    with FlakyPacs(sop_classes=[sop_class]) as pacs:
        assert job.deliver(job.delivery(pacs=dimse(pacs)), "pacs") == "delivered"

        (received,) = pacs.received
        report = dcmread(received.save(tmp_path / "got"))
        original = dcmread(job.outbox.path(f"outbox/{job.id.replace(':', '@')}/sr.dcm"))
    assert report.SOPClassUID == sop_class
    assert report.SOPInstanceUID != original.SOPInstanceUID
    assert len(report.ContentSequence) == len(original.ContentSequence)
    assert job.objects("pacs")[kind]["accepted"]


def test_a_second_delivery_to_such_an_archive_sends_nothing_again(job: EndedJob):
    with FlakyPacs(sop_classes=[COMPREHENSIVE]) as pacs:
        delivery = job.delivery(pacs=dimse(pacs))
        job.deliver(delivery, "pacs")
        assert job.deliver(delivery, "pacs", attempt=2) == "delivered"
        assert pacs.attempts == 1


def test_an_archive_that_takes_none_of_it_is_one_clear_failure(job: EndedJob):
    with FlakyPacs(sop_classes=["1.2.840.10008.5.1.4.1.1.2"]) as pacs:
        assert job.deliver(job.delivery(pacs=dimse(pacs)), "pacs") == "parked"
        assert "accepted no presentation context" in str(job.row("pacs").words)
        assert pacs.attempts == 0


def test_without_a_ladder_a_refused_seg_parks_the_delivery(job: EndedJob):
    with FlakyPacs(sop_classes=[SR_3D]) as pacs:
        delivery = job.delivery(pacs=dimse(pacs, fallback=[]))
        assert job.deliver(delivery, "pacs") == "parked"
        assert pacs.uids() == [job.uids["sr"]]


# -- by status class


@pytest.mark.parametrize(("status", "outcome"), [
    (0xA700, "again"),
    (0xA900, "parked"),
    (0xC123, "parked"),
    (0xB007, "delivered"),
    (0x0111, "delivered"),
])  # fmt: skip
def test_the_status_class_decides(job: EndedJob, status: int, outcome: str):
    with FlakyPacs() as pacs:
        pacs.refuse(status)
        delivery = job.delivery(pacs=dimse(pacs, fallback=[]))
        assert job.deliver(delivery, "pacs") == outcome
        assert job.objects("pacs")["sr"]["status"] == status


def test_a_transient_failure_is_parked_after_the_last_attempt_of_a_round(job: EndedJob):
    with FlakyPacs() as pacs:
        pacs.reject(transient=True)
        delivery = job.delivery(pacs=dimse(pacs, max_attempts=2))
        assert job.deliver(delivery, "pacs", attempt=1) == "again"
        assert job.deliver(delivery, "pacs", attempt=2) == "parked"


# -- back to the sender, and folders


def test_results_go_back_to_who_sent_the_series(job: EndedJob):
    with FlakyPacs(ae_title="MODALITY") as pacs:
        delivery = job.delivery(return_to={"SENDER": str(pacs.address)})
        assert job.deliver(delivery, "sender") == "delivered"
        assert set(pacs.uids()) == set(job.uids.values())


def test_a_sender_without_an_address_is_a_parked_delivery(job: EndedJob):
    assert job.deliver(job.delivery(), "sender") == "parked"


def test_a_folder_takes_seg_json_and_nifti(job: EndedJob, tmp_path: Path):
    target = tmp_path / "share"
    folder = {"kind": "folder", "path": str(target), "objects": ["seg", "json", "nifti"]}
    assert job.deliver(job.delivery(share=folder), "share") == "delivered"
    found = target / job.series_instance_uid
    assert {each.name for each in found.iterdir()} == {
        "seg.dcm",
        "findings.json",
        "labels.nii.gz",
    }


def test_the_nifti_has_the_labels_where_they_are_in_the_patient(job: EndedJob):
    path = job.outbox.path(f"outbox/{job.id.replace(':', '@')}/labels.nii.gz")
    image = SimpleITK.ReadImage(str(path))
    from tests.support.findings import make_findings

    made = make_findings(sorted_by_slice(path))
    label_map = made.findings.label_map
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image), label_map.labels)
    affine = label_map.geometry.affine_ijk_to_lps
    for index in ((0, 0, 0), (3, 5, 2), (16, 22, 8)):
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index),
            (affine @ (*index, 1))[:3],
            atol=1e-3,
        )
    assert gzip.decompress(path.read_bytes())[344:348] == b"n+1\0"


def sorted_by_slice(path: Path) -> list[Path]:
    folder = path.parents[3] / "ct"
    return sorted(folder.iterdir(), key=lambda each: float(dcmread(each).ImagePositionPatient[2]))


# -- STOW-RS


def test_orthanc_takes_seg_and_report_by_stow(job: EndedJob, tmp_path: Path):
    secret = tmp_path / "headers"
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    secret.write_text(f"Authorization: Basic {token}\n")
    with WebArchive(tmp_path / "orthanc") as archive:
        web = {"kind": "dicomweb", "url": archive.url, "headers_file": str(secret)}
        assert job.deliver(job.delivery(web=web), "web") == "delivered"
        assert archive.sop_instance_uids() == set(job.uids.values())

        secret.write_text("Authorization: Basic bm9ib2R5Ondyb25n\n")
        wrong = job.delivery(other=web)
        assert job.deliver(wrong, "other") == "parked"
        assert "401" in str(job.row("other").words)


class Service:
    """A web service that answers as it is told and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, Any]] = []
        self.authorizations: list[str | None] = []
        self.bodies: list[bytes] = []
        self.tokens = 0
        self.lifetimes: list[object] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.path == "/token":
                    service.tokens += 1
                    lifetime = service.lifetimes.pop(0) if service.lifetimes else 600
                    answer = {"access_token": f"t{service.tokens}", "expires_in": lifetime}
                    status = 200
                else:
                    service.authorizations.append(self.headers["Authorization"])
                    service.bodies.append(body)
                    status, answer = service.answers.pop(0)
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Be quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def item(uid: str, tag: str | None = None, reason: int | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"00081155": {"vr": "UI", "Value": [uid]}}
    if tag is not None:
        entry[tag] = {"vr": "US", "Value": [reason]}
    return entry


def test_each_instance_has_its_own_outcome_by_stow(job: EndedJob, service: Service):
    service.answers = [
        (
            202,
            {
                "00081199": {"vr": "SQ", "Value": [item(job.uids["seg"], "00081196", 0xB000)]},
                "00081198": {"vr": "SQ", "Value": [item(job.uids["sr"], "00081197", 0xA700)]},
            },
        ),
        (200, {"00081199": {"vr": "SQ", "Value": [item(job.uids["sr"])]}}),
    ]
    delivery = job.delivery(web={"kind": "dicomweb", "url": service.url})

    assert job.deliver(delivery, "web") == "again"
    assert job.objects("web")["seg"]["words"] == "Warning: Coercion of Data Elements"
    assert job.deliver(delivery, "web", attempt=2) == "delivered"
    assert job.uids["seg"].encode() not in service.bodies[1].split(b"\r\n\r\n", 1)[0]
    assert service.bodies[1].count(b"DICM") == 1


@pytest.mark.parametrize(("status", "outcome"), [(503, "again"), (429, "again"), (400, "parked")])
def test_a_request_that_fails_as_a_whole(
    job: EndedJob, service: Service, status: int, outcome: str
):
    service.answers = [(status, {})]
    delivery = job.delivery(web={"kind": "dicomweb", "url": service.url})
    assert job.deliver(delivery, "web") == outcome
    assert str(status) in str(job.row("web").words)


def test_a_service_that_is_not_there_is_tried_again(job: EndedJob):
    delivery = job.delivery(web={"kind": "dicomweb", "url": "http://127.0.0.1:9"})
    assert job.deliver(delivery, "web") == "again"


@pytest.mark.parametrize("reason", [0x0111, 45070])
def test_an_instance_that_the_service_has_already_is_delivered(
    job: EndedJob, service: Service, reason: int
):
    """As by C-STORE: under our UIDs there is but one object."""
    there = item(job.uids["seg"], "00081197", reason)
    taken = item(job.uids["sr"])
    answer = {
        "00081198": {"vr": "SQ", "Value": [there]},
        "00081199": {"vr": "SQ", "Value": [taken]},
    }
    service.answers = [(202, answer)]

    delivery = job.delivery(web={"kind": "dicomweb", "url": service.url})

    assert job.deliver(delivery, "web") == "delivered"
    seg = job.objects("web")["seg"]
    assert (seg["accepted"], seg["fallback"], seg["status"]) == (True, [], reason)
    assert seg["words"] == "Refused: Duplicate SOP Instance"


def with_tokens(service: Service, secret: Path, **oauth: str) -> StowClient:
    secret.write_text("s3cret\n")
    return StowClient(
        DicomwebDestination.model_validate(
            {
                "kind": "dicomweb",
                "url": service.url,
                "oauth": {
                    "token_url": f"{service.url}/token",
                    "client_id": "node",
                    "client_secret_file": str(secret),
                }
                | oauth,
            }
        )
    )


def test_a_forgotten_token_is_had_anew_once(job: EndedJob, service: Service, tmp_path: Path):
    paths = [job.outbox.path(f"outbox/{job.id.replace(':', '@')}/sr.dcm")]
    good = (200, {"00081199": {"vr": "SQ", "Value": [item(job.uids["sr"])]}})
    service.answers = [good, (401, {}), good]
    client = with_tokens(service, tmp_path / "secret")

    assert all(each.accepted for each in client.send(paths))
    assert all(each.accepted for each in client.send(paths))
    assert service.authorizations == ["Bearer t1", "Bearer t1", "Bearer t2"]


def test_a_token_of_unknown_lifetime_is_not_kept(job: EndedJob, service: Service, tmp_path: Path):
    paths = [job.outbox.path(f"outbox/{job.id.replace(':', '@')}/sr.dcm")]
    service.answers = [(200, {"00081199": {"vr": "SQ", "Value": [item(job.uids["sr"])]}})]
    service.lifetimes = ["soon", 600]
    client = with_tokens(service, tmp_path / "secret")

    with pytest.raises(DestinationRefused, match="gave no token"):
        client.send(paths)

    assert all(each.accepted for each in client.send(paths))
    assert service.authorizations == ["Bearer t2"]


def test_a_token_service_that_is_not_there_is_named(
    job: EndedJob, service: Service, tmp_path: Path
):
    paths = [job.outbox.path(f"outbox/{job.id.replace(':', '@')}/sr.dcm")]
    away = "http://127.0.0.1:9/token"
    client = with_tokens(service, tmp_path / "secret", token_url=away)

    with pytest.raises(DestinationUnavailable, match=f"^{away} cannot be reached: ConnectError"):
        client.send(paths)
