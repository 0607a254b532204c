"""What is put on record of people: signing in, acting, looking at patients, taking results along.

Each goes to the log, without anything of a patient; and, where an audit repository is configured,
as a DICOM audit message (PS3.15 A.5), which names the patient as that standard wants it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import Request

from dicomnode.console.access import Person
from dicomnode.console.audit_message import Event, Message, Outcome, Patient, Study
from dicomnode.console.clients import Clients
from dicomnode.log import get_logger

_log = get_logger("audit")


class Repository(Protocol):
    """Takes audit messages."""

    def send(self, message: Message) -> None:
        """Take a message; it neither waits nor raises."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What of a patient somebody was shown, or took along.

    `patient` is for the audit repository alone; None where it could not be read.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uids: Sequence[str] = ()
    instance_count: int = 0
    patient: Patient | None = None


class Audit:
    """Writes audit lines.

    Parameters
    ----------
    clients : Clients
        Tells where requests come from.
    repository : Repository, optional
        Is sent DICOM audit messages.
    """

    def __init__(self, clients: Clients, repository: Repository | None = None) -> None:
        self._clients = clients
        self._repository = repository

    def started(self) -> None:
        """Record that the console was started."""
        _log.info("console_started")
        self._send(Event.APPLICATION_START, name="dicomnode", address="")

    def stopped(self) -> None:
        """Record that the console was stopped."""
        _log.info("console_stopped")
        self._send(Event.APPLICATION_STOP, name="dicomnode", address="")

    def signed_in(self, request: Request, name: str) -> None:
        """Record that somebody signed in."""
        _log.info("signed_in", who=name, address=self._address(request))
        self._send(Event.LOGIN, name=name, address=self._address(request))

    def signed_out(self, request: Request, name: str) -> None:
        """Record that somebody signed out."""
        _log.info("signed_out", who=name, address=self._address(request))
        self._send(Event.LOGOUT, name=name, address=self._address(request))

    def refused(self, request: Request, name: str, why: str) -> None:
        """Record that somebody was not let in."""
        # What was typed as a name may be a password.
        _log.warning("sign_in_refused", address=self._address(request), reason=why)
        self._send(
            Event.LOGIN, name=name, address=self._address(request), outcome=Outcome.MINOR_FAILURE
        )

    def acted(self, request: Request, person: Person, action: str, subject: str) -> None:
        """Record what somebody did, in the log alone: PS3.15 A.5.3 has no message that fits.

        Parameters
        ----------
        action : str
            In snake case: ``retry_job``.
        subject : str
            A job, a series, a destination: an identifier, nothing of a patient.
        """
        _log.info(
            "acted",
            who=person.name,
            role=person.role,
            by=person.by,
            address=self._address(request),
            action=action,
            subject=subject,
        )

    def viewed(
        self, request: Request, person: Person, shown: Sequence[Shown], *, what: str = "patient"
    ) -> None:
        """Record that somebody was shown something of patients.

        Parameters
        ----------
        shown : sequence of Shown
            One for each series.
        what : str
            ``patient`` for name and ID, ``images``, ``report``.
        """
        self._on_patients("viewed", Event.INSTANCES_ACCESSED, request, person, shown, what)

    def exported(
        self, request: Request, person: Person, shown: Sequence[Shown], *, what: str
    ) -> None:
        """Record that somebody took results or images along.

        Parameters
        ----------
        shown : sequence of Shown
            One for each series.
        what : str
            Name of the file: ``seg.dcm``.
        """
        self._on_patients("exported", Event.EXPORT, request, person, shown, what)

    def imported(
        self, request: Request, person: Person, shown: Sequence[Shown], *, what: str
    ) -> None:
        """Record that somebody brought instances.

        Parameters
        ----------
        shown : sequence of Shown
            One for each series.
        what : str
            Name of the pipeline.
        """
        self._on_patients("imported", Event.IMPORT, request, person, shown, what)

    def _on_patients(
        self,
        name: str,
        event: Event,
        request: Request,
        person: Person,
        shown: Sequence[Shown],
        what: str,
    ) -> None:
        _log.info(
            name,
            who=person.name,
            role=person.role,
            by=person.by,
            address=self._address(request),
            what=what,
            series=[each.series_instance_uid for each in shown],
        )
        for each in shown:
            study = Study(
                study_instance_uid=each.study_instance_uid,
                sop_class_uids=tuple(each.sop_class_uids),
                instance_count=each.instance_count,
            )
            self._send(
                event,
                name=person.name,
                address=self._address(request),
                words=what,
                study=study,
                patient=each.patient,
            )

    def _send(
        self,
        event: Event,
        *,
        name: str,
        address: str,
        outcome: Outcome = Outcome.SUCCESS,
        words: str | None = None,
        study: Study | None = None,
        patient: Patient | None = None,
    ) -> None:
        if self._repository is not None:
            self._repository.send(
                Message(
                    event=event,
                    outcome=outcome,
                    user=name,
                    address=address,
                    words=words,
                    study=study,
                    patient=patient,
                )
            )

    def _address(self, request: Request) -> str:
        return self._clients.client(request).address
