"""REST API: jobs, and what operators do with them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field

from dicomnode.console.access import Person
from dicomnode.console.actions import Actions, JobAction
from dicomnode.console.api_series import Done, Limit, UidFilter
from dicomnode.console.parts import Parts
from dicomnode.console.problems import CONFLICT, NOT_FOUND, RESPONSES
from dicomnode.console.record import JobRecord, read_job
from dicomnode.database.job_rows import JobRow, list_jobs

JobId = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:_-]{0,199}$", description="As the list gives it.")
]


class SendTo(BaseModel):
    """Where results are to be sent."""

    destination: str = Field(
        min_length=1, max_length=40, description='By name; "sender" is whoever sent the series.'
    )


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/api/v1/jobs``."""
    router = APIRouter(prefix="/api/v1", tags=["jobs"], responses=RESPONSES)
    actions = Actions(parts)

    @router.get("/jobs", dependencies=[Depends(parts.access.viewer)])
    def jobs(
        state: Annotated[str | None, Query(max_length=20)] = None,
        series_instance_uid: UidFilter = None,
        pipeline: Annotated[str | None, Query(max_length=40)] = None,
        delivery_state: Annotated[
            str | None, Query(max_length=20, description="With a delivery in that state.")
        ] = None,
        since: datetime | None = None,
        limit: Limit = 1000,
    ) -> list[JobRow]:
        """List jobs, the latest first."""
        with parts.database.begin() as transaction:
            return list(
                list_jobs(
                    transaction,
                    state=state,
                    series_instance_uid=series_instance_uid,
                    pipeline=pipeline,
                    delivery_state=delivery_state,
                    since=since,
                    limit=limit,
                )
            )

    @router.get("/jobs/{job_id}", dependencies=[Depends(parts.access.viewer)], responses=NOT_FOUND)
    def job(job_id: JobId) -> JobRecord:
        """Show a job: its steps, its results, every attempt at every delivery."""
        found = read_job(parts, job_id)
        if found is None:
            raise HTTPException(404, "there is no such job")
        return found

    @router.post("/jobs/{job_id}/send", responses=CONFLICT)
    def send(
        request: Request,
        job_id: JobId,
        to: SendTo,
        person: Annotated[Person, Depends(parts.access.operator)],
    ) -> Done:
        """Send the results of a job to a destination, be it one of its pipeline's or not."""
        return Done(done=actions.send(request, person, job_id, to.destination))

    @router.post("/jobs/{job_id}/{action}", responses=CONFLICT)
    def act(
        request: Request,
        job_id: JobId,
        action: JobAction,
        person: Annotated[Person, Depends(parts.access.operator)],
    ) -> Done:
        """Retry what failed or is parked, cancel what runs, or dismiss what is owed."""
        return Done(done=actions.on_job(request, person, action, job_id))

    return router
