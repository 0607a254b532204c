"""DICOM audit messages as XML (PS3.15 A.5).  Sending them is `syslog`'s."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

_Code = tuple[str, str, str]
"""Code value, coding scheme, meaning."""

_APPLICATION: Final = ("110150", "DCM", "Application")
_SOURCE: Final = ("110153", "DCM", "Source Role ID")
_DESTINATION: Final = ("110152", "DCM", "Destination Role ID")
_SOURCE_MEDIA: Final = ("110155", "DCM", "Source Media")
_DESTINATION_MEDIA: Final = ("110154", "DCM", "Destination Media")
_URI: Final = ("110037", "DCM", "URI")
_STUDY_UID: Final = ("110180", "DCM", "Study Instance UID")
_PATIENT_NUMBER: Final = ("2", "RFC-3881", "Patient Number")

_WEB_SERVER: Final = "3"
"""Audit Source Type Code (PS3.15 A.5.1.2.1)."""


class Event(Enum):
    """What happened: EventID, EventTypeCode, EventActionCode (PS3.15 A.5.3)."""

    APPLICATION_START = (
        ("110100", "DCM", "Application Activity"),
        ("110120", "DCM", "Application Start"),
        "E",
    )
    APPLICATION_STOP = (
        ("110100", "DCM", "Application Activity"),
        ("110121", "DCM", "Application Stop"),
        "E",
    )
    LOGIN = (("110114", "DCM", "User Authentication"), ("110122", "DCM", "Login"), "E")
    LOGOUT = (("110114", "DCM", "User Authentication"), ("110123", "DCM", "Logout"), "E")
    INSTANCES_ACCESSED = (("110103", "DCM", "DICOM Instances Accessed"), None, "R")
    EXPORT = (("110106", "DCM", "Export"), None, "R")
    IMPORT = (("110107", "DCM", "Import"), None, "C")


class Outcome(Enum):
    """EventOutcomeIndicator."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"


@dataclass(frozen=True, slots=True)
class Patient:
    """Patient ID (0010,0020) and Patient's Name (0010,0010), as the instances have them."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study, and which of its SOP classes and how many instances were concerned."""

    study_instance_uid: str
    sop_class_uids: tuple[str, ...]
    instance_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One event.

    Attributes
    ----------
    user, address : str
        Who, from where; no address for what the node does itself.
    words : str or None
        Which of the results, or what of the patient.
    """

    event: Event
    outcome: Outcome
    user: str
    address: str
    words: str | None = None
    study: Study | None = None
    patient: Patient | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def encode(message: Message, *, source_id: str, site_id: str | None, process: str) -> bytes:
    """Return a message as XML in UTF-8.

    Parameters
    ----------
    message : Message
    source_id, site_id : str
        Audit source and enterprise site.
    process : str
        Identity of this process, as a participant.
    """
    event_id, event_type, action = message.event.value
    root = Element("AuditMessage")
    event = SubElement(
        root,
        "EventIdentification",
        EventActionCode=action,
        EventDateTime=message.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=message.outcome.value,
    )
    _add_code(event, "EventID", event_id)
    if event_type is not None:
        _add_code(event, "EventTypeCode", event_type)
    if message.outcome is not Outcome.SUCCESS:
        SubElement(event, "EventOutcomeDescription").text = "refused"
    _add_participants(root, message, process)
    source = SubElement(root, "AuditSourceIdentification", AuditSourceID=source_id)
    if site_id is not None:
        source.set("AuditEnterpriseSiteID", site_id)
    SubElement(source, "AuditSourceTypeCode", {"csd-code": _WEB_SERVER})
    if message.study is not None:
        _add_study(root, message.study, message.words)
        _add_patient(root, message.patient or Patient("", ""))
    encoded: bytes = tostring(root, encoding="utf-8", xml_declaration=True)
    return encoded


def _add_participants(root: Element, message: Message, process: str) -> None:
    event = message.event
    if event in {Event.APPLICATION_START, Event.APPLICATION_STOP}:
        _add_participant(root, process, is_requestor=False, role=_APPLICATION)
        return
    roles = {Event.EXPORT: _SOURCE, Event.IMPORT: _DESTINATION}
    _add_participant(
        root,
        message.user,
        is_requestor=True,
        role=roles.get(event),
        address=message.address,
    )
    _add_participant(root, process, is_requestor=False, role=_APPLICATION)
    media = {Event.EXPORT: _DESTINATION_MEDIA, Event.IMPORT: _SOURCE_MEDIA}
    if event in media:
        # The browser at the other end: what it keeps the files on nobody knows here.
        participant = _add_participant(
            root, message.address, is_requestor=False, role=media[event], address=message.address
        )
        _add_code(SubElement(participant, "MediaIdentifier"), "MediaType", _URI)


def _add_participant(
    root: Element,
    user_id: str,
    *,
    is_requestor: bool,
    role: _Code | None = None,
    address: str = "",
) -> Element:
    participant = SubElement(
        root, "ActiveParticipant", UserID=user_id, UserIsRequestor=str(is_requestor).lower()
    )
    if address:
        participant.set("NetworkAccessPointID", address)
        participant.set("NetworkAccessPointTypeCode", "2")  # an IP address
    if role is not None:
        _add_code(participant, "RoleIDCode", role)
    return participant


def _add_study(root: Element, study: Study, words: str | None) -> None:
    found = _add_object(
        root, study.study_instance_uid, kind="2", role="3", id_type=_STUDY_UID, name="study"
    )
    if words is not None:
        value = base64.b64encode(words.encode()).decode()
        SubElement(found, "ParticipantObjectDetail", type="What", value=value)
    description = SubElement(found, "ParticipantObjectDescription")
    for uid in study.sop_class_uids:
        SubElement(description, "SOPClass", UID=uid, NumberOfInstances=str(study.instance_count))


def _add_patient(root: Element, patient: Patient) -> None:
    _add_object(root, patient.id, kind="1", role="1", id_type=_PATIENT_NUMBER, name=patient.name)


def _add_object(
    root: Element, identifier: str, *, kind: str, role: str, id_type: _Code, name: str
) -> Element:
    found = SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identifier,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    _add_code(found, "ParticipantObjectIDTypeCode", id_type)
    SubElement(found, "ParticipantObjectName").text = name
    return found


def _add_code(parent: Element, name: str, code: _Code) -> None:
    value, scheme, meaning = code
    SubElement(parent, name, {"csd-code": value, "codeSystemName": scheme, "originalText": meaning})
