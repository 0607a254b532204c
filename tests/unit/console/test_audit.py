"""What is put on record: in the log without anything of a patient, in audit messages with."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
import structlog
from pydicom import dcmread

from dicomnode.console.audit_message import (
    Event,
    Message,
    Outcome,
    Patient,
    Study,
    encode,
)
from tests.support.console import (
    Browser,
    cheap_line,
    make_config,
    make_parts,
    store_files,
)
from tests.support.ct import make_series

PASSWORD = "a long password"  # noqa: S105 - invented


class Repository:
    def __init__(self):
        self.messages = []

    def send(self, message):
        self.messages.append(message)


@pytest.fixture
def repository():
    return Repository()


@pytest.fixture
def parts(tmp_path, stack, repository):
    path = tmp_path / "passwords"
    path.write_text(cheap_line("anna", "operator", PASSWORD))
    config = make_config(tmp_path, access={"password_file": path})
    return make_parts(config, stack, repository=repository)


@pytest.fixture
def series(parts, tmp_path):
    paths = make_series(tmp_path / "ct", PatientName="Marked^Patient", PatientID="MARK-4711")
    store_files(parts, paths)
    return dcmread(paths[0], stop_before_pixels=True)


@pytest.fixture
def browser(parts):
    opened = Browser(parts)
    opened.sign_in("anna", PASSWORD)
    return opened


def test_a_look_at_a_patient_is_on_record(browser, series, repository):
    uid = str(series.SeriesInstanceUID)
    with structlog.testing.capture_logs() as lines:
        page = browser.get(f"/series/{uid}?patient=show")

    assert "Marked Patient" in page.text
    assert "MARK-4711" in page.text
    [line] = [each for each in lines if each["event"] == "viewed"]
    assert (line["component"], line["who"], line["series"], line["address"]) == (
        "audit",
        "anna",
        [uid],
        "127.0.0.1",
    )
    assert "Marked" not in str(lines)
    assert "4711" not in str(lines)
    message = repository.messages[-1]
    assert message.event is Event.INSTANCES_ACCESSED
    assert message.patient == Patient("MARK-4711", "Marked Patient")
    assert message.study.study_instance_uid == series.StudyInstanceUID


def test_pages_show_no_patient_unless_asked(browser, series, repository):
    before = len(repository.messages)
    for path in ("/", f"/series/{series.SeriesInstanceUID}"):
        assert "Marked" not in browser.get(path).text

    assert len(repository.messages) == before


def test_the_list_shows_patients_on_request_and_each_is_on_record(browser, series, repository):
    page = browser.get("/?patients=show").text

    assert "Marked Patient" in page
    assert "hx-get" not in page, "a page with patients does not refresh itself"
    assert repository.messages[-1].patient.id == "MARK-4711"
    assert str(series.SeriesInstanceUID) in page


def test_the_api_shows_a_patient_and_puts_it_on_record(browser, series, repository):
    found = browser.get(f"/api/v1/series/{series.SeriesInstanceUID}/patient").json()

    assert found == {"patient_id": "MARK-4711", "patient_name": "Marked Patient"}
    assert repository.messages[-1].event is Event.INSTANCES_ACCESSED


def test_whoever_is_not_signed_in_is_shown_no_patient(tmp_path, stack):
    parts = make_parts(make_config(tmp_path), stack)
    paths = make_series(tmp_path / "ct", PatientName="Marked^Patient", PatientID="MARK-4711")
    store_files(parts, paths)
    uid = dcmread(paths[0], stop_before_pixels=True).SeriesInstanceUID
    browser = Browser(parts)

    for path in ("/?patients=show", f"/series/{uid}?patient=show"):
        answer = browser.get(path)
        assert answer.status_code == 200
        assert "Marked" not in answer.text
        assert "Show" not in answer.text
    assert browser.get(f"/api/v1/series/{uid}/patient").status_code == 403


def test_signing_in_and_out_and_failing_to_are_on_record(parts, repository):
    browser = Browser(parts)
    with structlog.testing.capture_logs() as lines:
        browser.sign_in("anna", "wrong")
        browser.sign_in("anna", PASSWORD)
        browser.submit("/sign-out", browser.get("/"))

    told = [each["event"] for each in lines if each.get("component") == "audit"]
    assert told == ["sign_in_refused", "signed_in", "signed_out"]
    assert [(each.event, each.outcome) for each in repository.messages] == [
        (Event.LOGIN, Outcome.MINOR_FAILURE),
        (Event.LOGIN, Outcome.SUCCESS),
        (Event.LOGOUT, Outcome.SUCCESS),
    ]
    assert "wrong" not in str(lines).replace("wrong name or password", "")


def test_an_act_is_on_record(browser):
    page = browser.get("/pipelines")
    with structlog.testing.capture_logs() as lines:
        browser.submit("/destinations/share/test", page)

    [line] = [each for each in lines if each["event"] == "acted"]
    assert (line["who"], line["action"], line["subject"]) == ("anna", "test_destination", "share")


def _attributes(element, *names):
    return tuple(element.get(name) for name in names)


def test_an_audit_message_has_the_form_of_ps3_15_a_5():
    message = Message(
        event=Event.INSTANCES_ACCESSED,
        outcome=Outcome.SUCCESS,
        user="anna",
        address="192.0.2.9",
        words="patient",
        study=Study(
            study_instance_uid="1.2.3",
            sop_class_uids=("1.2.840.10008.5.1.4.1.1.2",),
            instance_count=40,
        ),
        patient=Patient("MARK-4711", "Märkel <A> & Söhne"),
    )

    root = ET.fromstring(  # noqa: S314 - ours
        encode(message, source_id="node-1", site_id="Hospital", process="dicomnode@host")
    )

    assert root.tag == "AuditMessage"
    assert [each.tag for each in root] == [
        "EventIdentification",
        "ActiveParticipant",
        "ActiveParticipant",
        "AuditSourceIdentification",
        "ParticipantObjectIdentification",
        "ParticipantObjectIdentification",
    ]
    event, person, process, source, study, patient = root
    assert _attributes(event, "EventActionCode", "EventOutcomeIndicator") == ("R", "0")
    assert event.get("EventDateTime").endswith("+00:00")
    assert _attributes(event[0], "csd-code", "codeSystemName", "originalText") == (
        "110103",
        "DCM",
        "DICOM Instances Accessed",
    )
    assert _attributes(
        person, "UserID", "UserIsRequestor", "NetworkAccessPointID", "NetworkAccessPointTypeCode"
    ) == ("anna", "true", "192.0.2.9", "2")
    assert _attributes(process, "UserID", "UserIsRequestor") == ("dicomnode@host", "false")
    assert _attributes(source, "AuditSourceID", "AuditEnterpriseSiteID") == ("node-1", "Hospital")
    for found, identifier, kind, role, code in (
        (study, "1.2.3", "2", "3", "110180"),
        (patient, "MARK-4711", "1", "1", "2"),
    ):
        assert _attributes(
            found,
            "ParticipantObjectID",
            "ParticipantObjectTypeCode",
            "ParticipantObjectTypeCodeRole",
        ) == (identifier, kind, role)
        assert found[0].tag == "ParticipantObjectIDTypeCode"
        assert found[0].get("csd-code") == code
        assert found[1].tag == "ParticipantObjectName"
    assert patient[1].text == "Märkel <A> & Söhne"
    description = study.find("ParticipantObjectDescription")
    assert _attributes(description[0], "UID", "NumberOfInstances") == (
        "1.2.840.10008.5.1.4.1.1.2",
        "40",
    )


@pytest.mark.parametrize("event", list(Event))
def test_every_event_can_be_told(event):
    message = Message(event=event, outcome=Outcome.MINOR_FAILURE, user="anna", address="192.0.2.9")

    root = ET.fromstring(  # noqa: S314 - ours
        encode(message, source_id="node-1", site_id=None, process="dicomnode@host")
    )

    assert root.find("EventIdentification/EventID").get("codeSystemName") == "DCM"
    assert root.find("EventIdentification/EventOutcomeDescription").text
    assert root.find("ActiveParticipant") is not None
