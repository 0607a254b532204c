"""The page of a series: what came, what was decided, what was done, what can be done."""

from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dicomnode.config import SENDER
from dicomnode.console.access import Person
from dicomnode.console.actions import Actions, JobAction
from dicomnode.console.audit import Shown
from dicomnode.console.audit_message import Patient
from dicomnode.console.parts import Parts
from dicomnode.console.record import SeriesRecord, read_job, read_series
from dicomnode.database.job_rows import END_STATES

_RETRIED = frozenset(("failed", "cancelled", "not_selected"))


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/series/...`` and the actions on jobs."""
    router = APIRouter(include_in_schema=False)
    actions = Actions(parts)

    @router.get("/series/{series_instance_uid}", response_class=HTMLResponse)
    def show(
        request: Request,
        series_instance_uid: str,
        person: Annotated[Person, Depends(parts.access.viewer)],
        patient: str = "",
        done: str = "",
    ) -> Response:
        records = read_series(parts, series_instance_uid)
        if not records:
            raise HTTPException(404, "no such series was received")
        shows = person.sees_patients and patient == "show"
        return parts.pages.render(
            request,
            "series.html",
            person,
            uid=series_instance_uid,
            records=records,
            patient=_whose(request, person, records[0]) if shows else None,
            shows_patient=shows,
            done=_DONE.get(done, ""),
            destinations=[*parts.config.destinations, SENDER],
            end_states=END_STATES,
            retried=_RETRIED,
        )

    def _whose(request: Request, person: Person, record: SeriesRecord) -> Patient | None:
        found = parts.patients.read(record.pipeline, record.series_instance_uid)
        if found is not None:
            shown = Shown(
                study_instance_uid=record.study_instance_uid,
                series_instance_uid=record.series_instance_uid,
                sop_class_uids=list(record.contents.sop_classes),
                instance_count=record.contents.instance_count,
                patient=found,
            )
            parts.audit.viewed(request, person, [shown])
        return found

    @router.post("/series/{series_instance_uid}/proceed")
    def proceed(
        request: Request,
        series_instance_uid: str,
        person: Annotated[Person, Depends(parts.access.operator)],
    ) -> RedirectResponse:
        actions.proceed(request, person, series_instance_uid)
        return RedirectResponse(f"/series/{series_instance_uid}?done=proceed", 303)

    @router.post("/jobs/{job_id}/send")
    def send(
        request: Request,
        job_id: str,
        person: Annotated[Person, Depends(parts.access.operator)],
        destination: Annotated[str, Form(max_length=40)],
    ) -> RedirectResponse:
        actions.send(request, person, job_id, destination)
        return _back(job_id, "send")

    @router.post("/jobs/{job_id}/{action}")
    def act(
        request: Request,
        job_id: str,
        action: JobAction,
        person: Annotated[Person, Depends(parts.access.operator)],
    ) -> RedirectResponse:
        actions.on_job(request, person, action, job_id)
        return _back(job_id, action)

    def _back(job_id: str, done: str) -> RedirectResponse:
        job = read_job(parts, job_id)
        if job is None:
            raise HTTPException(404, "there is no such job")
        return RedirectResponse(f"/series/{job.series_instance_uid}?done={done}", 303)

    return router


_DONE = {
    "retry": "It was enqueued again.",
    "cancel": "It was cancelled.",
    "dismiss": "It was dismissed: nothing more is owed.",
    "send": "The delivery was enqueued.",
    "proceed": "The series will be analyzed as it is.",
}
"""What a page says after an action on it."""
