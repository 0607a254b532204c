"""What operators do: each goes to the function that steers the node, and onto the audit record."""

from __future__ import annotations

from typing import Literal, get_args

from fastapi import HTTPException, Request

from dicomnode.config import SENDER, Destination
from dicomnode.console.access import Person
from dicomnode.console.parts import Parts
from dicomnode.database.check_rows import CheckRow
from dicomnode.database.job_rows import get_job
from dicomnode.database.series_rows import list_series, release_held
from dicomnode.errors import StateError
from dicomnode.model.instance import InstanceRef
from dicomnode.pipeline.checking import check_destination
from dicomnode.pipeline.release import release_instance
from dicomnode.pipeline.steering import cancel_job, dismiss_job, retry_job, send_job

JobAction = Literal["retry", "cancel", "dismiss"]
JOB_ACTIONS: tuple[str, ...] = get_args(JobAction)


class Actions:
    """Does what an operator asks for.

    Parameters
    ----------
    parts : Parts
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def on_job(self, request: Request, person: Person, action: JobAction, job_id: str) -> str:
        """Try again, cancel or dismiss a job.

        Returns
        -------
        str
            What was done, in words.

        Raises
        ------
        HTTPException
            404 if there is no such job.
        StateError
            If its state admits no such thing.
        """
        parts = self._parts
        self._check_job(job_id)
        if action == "retry":
            words = retry_job(
                parts.database, parts.jobs, job_id, destinations=parts.config.destinations
            )
        elif action == "cancel":
            words = cancel_job(parts.database, parts.jobs, job_id)
        else:
            words = dismiss_job(parts.database, job_id)
        parts.audit.acted(request, person, f"{action}_job", job_id)
        return words

    def send(self, request: Request, person: Person, job_id: str, destination: str) -> str:
        """Send the results of a job to a destination.

        Returns
        -------
        str
            What was done, in words.

        Raises
        ------
        HTTPException
            404 if there is no such job or destination.
        StateError
            If it has no results, or is being sent there.
        """
        parts = self._parts
        self._check_job(job_id)
        if destination != SENDER:
            self._destination(destination)
        words = send_job(
            parts.database,
            parts.jobs,
            job_id,
            destination,
            destinations=parts.config.destinations,
        )
        parts.audit.acted(request, person, f"send_job_to_{destination}", job_id)
        return words

    def proceed(self, request: Request, person: Person, series_instance_uid: str) -> str:
        """Have a series analyzed that was held at its deadline.

        Returns
        -------
        str
            What was done, in words.

        Raises
        ------
        HTTPException
            404 if there is no such series.
        StateError
            If it is not held.
        """
        with self._parts.database.begin() as transaction:
            known = list_series(transaction, series_instance_uid=series_instance_uid)
            released = release_held(transaction, series_instance_uid)
        if not known:
            raise HTTPException(404, "there is no such series")
        if not released:
            raise StateError("the series is not held")
        self._parts.audit.acted(request, person, "proceed_series", series_instance_uid)
        return f"{series_instance_uid}: will be analyzed as it is"

    def release(self, request: Request, person: Person, identifier: str) -> InstanceRef:
        """Take an object out of quarantine into the pipeline it was sent to.

        Raises
        ------
        HTTPException
            404 if there is no such object.
        StateError, InstanceUnreadable, SpoolFull
            If it cannot be released.
        """
        parts = self._parts
        try:
            parts.quarantine.get(identifier)
        except StateError as error:
            raise HTTPException(404, "there is no such object in quarantine") from error
        ref = release_instance(
            parts.quarantine, identifier, store=parts.store, database=parts.database
        )
        parts.audit.acted(request, person, "release_from_quarantine", identifier)
        return ref

    def test(self, request: Request, person: Person, destination: str) -> CheckRow:
        """Ask a destination now whether it is there.

        Raises
        ------
        HTTPException
            404 if there is no such destination.
        """
        parts = self._parts
        config = self._destination(destination)
        callers = (
            each.config.ae_title
            for each in parts.setups.values()
            if destination in each.config.destinations
        )
        parts.audit.acted(request, person, "test_destination", destination)
        return check_destination(
            parts.database, destination, config, calling_ae_title=next(callers, "DICOMNODE")
        )

    def _check_job(self, job_id: str) -> None:
        with self._parts.database.begin() as transaction:
            if get_job(transaction, job_id) is None:
                raise HTTPException(404, "there is no such job")

    def _destination(self, name: str) -> Destination:
        found = self._parts.config.destinations.get(name)
        if found is None:
            known = ", ".join(sorted(self._parts.config.destinations)) or "none"
            raise HTTPException(404, f"there is no such destination; known are {known}")
        return found
