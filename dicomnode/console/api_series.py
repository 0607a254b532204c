"""REST API: series and what became of them, and patients for those who may see them."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from pydantic import BaseModel

from dicomnode.console.access import Person
from dicomnode.console.actions import Actions
from dicomnode.console.audit import Shown
from dicomnode.console.parts import Parts
from dicomnode.console.problems import CONFLICT, NOT_FOUND, RESPONSES
from dicomnode.console.record import SeriesRecord, read_series
from dicomnode.database.overview_rows import Choice, OverviewRow, list_overview
from dicomnode.database.series_rows import SeriesRow, list_series

SeriesUid = Annotated[
    str, Path(pattern=r"^[0-9.]{1,64}$", description="Series Instance UID (0020,000E).")
]
UidFilter = Annotated[str | None, Query(pattern=r"^[0-9.]{1,64}$")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most that are returned.")]
Offset = Annotated[int, Query(ge=0, le=10_000_000, description="So many are left out first.")]


class Done(BaseModel):
    """What was done, in words."""

    done: str


class PatientOfSeries(BaseModel):
    """Whose images a series holds, as a stored instance says it."""

    patient_id: str
    patient_name: str


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/api/v1/series`` and ``/api/v1/overview``."""
    router = APIRouter(prefix="/api/v1", tags=["series"], responses=RESPONSES)
    actions = Actions(parts)

    @router.get("/overview", dependencies=[Depends(parts.access.viewer)])
    def overview(
        q: Annotated[
            str | None,
            Query(
                max_length=200,
                description="Part of a Series or Study Instance UID or a job's id, or a whole SOP "
                "Instance UID.",
            ),
        ] = None,
        state: Annotated[str | None, Query(max_length=20)] = None,
        attention: Annotated[
            bool, Query(description="Only what failed, is held, or has a parked delivery.")
        ] = False,
        pipeline: Annotated[str | None, Query(max_length=40)] = None,
        calling_ae_title: Annotated[str | None, Query(max_length=16)] = None,
        since: datetime | None = None,
        limit: Limit = 50,
        offset: Offset = 0,
    ) -> list[OverviewRow]:
        """List series with the latest job on each and its deliveries, the latest first."""
        choice = Choice(
            state=state,
            attention=attention,
            pipeline=pipeline,
            calling_ae_title=calling_ae_title,
            text=q or None,
            since=since,
        )
        with parts.database.begin() as transaction:
            return list(list_overview(transaction, choice, limit=limit, offset=offset))

    @router.get("/series", dependencies=[Depends(parts.access.viewer)])
    def series(
        state: Annotated[str | None, Query(max_length=20)] = None,
        series_instance_uid: UidFilter = None,
        pipeline: Annotated[str | None, Query(max_length=40)] = None,
        since: datetime | None = None,
        limit: Limit = 1000,
    ) -> list[SeriesRow]:
        """List series, the latest first."""
        with parts.database.begin() as transaction:
            return list(
                list_series(
                    transaction,
                    state=state,
                    series_instance_uid=series_instance_uid,
                    pipeline=pipeline,
                    since=since,
                    limit=limit,
                )
            )

    @router.get(
        "/series/{series_instance_uid}",
        dependencies=[Depends(parts.access.viewer)],
        responses=NOT_FOUND,
    )
    def one(series_instance_uid: SeriesUid) -> list[SeriesRecord]:
        """Show all that is on record of a series, for each pipeline that received it."""
        records = read_series(parts, series_instance_uid)
        if not records:
            raise HTTPException(404, "no such series was received")
        return records

    @router.get("/series/{series_instance_uid}/patient", responses=NOT_FOUND)
    def patient(
        request: Request,
        series_instance_uid: SeriesUid,
        person: Annotated[Person, Depends(parts.access.viewer)],
    ) -> PatientOfSeries:
        """Show whose images a series holds, to those who may see it; this is put on record."""
        if not person.sees_patients:
            raise HTTPException(403, f"{person.name} is not shown patients")
        with parts.database.begin() as transaction:
            rows = list_series(transaction, series_instance_uid=series_instance_uid)
        for row in rows:
            found = parts.patients.read(row.pipeline, series_instance_uid)
            if found is not None:
                shown = Shown(
                    study_instance_uid=row.study_instance_uid,
                    series_instance_uid=series_instance_uid,
                    instance_count=row.instance_count,
                    patient=found,
                )
                parts.audit.viewed(request, person, [shown])
                return PatientOfSeries(patient_id=found.id, patient_name=found.name)
        raise HTTPException(404, "no instance of such a series is stored")

    @router.post("/series/{series_instance_uid}/proceed", responses=CONFLICT)
    def proceed(
        request: Request,
        series_instance_uid: SeriesUid,
        person: Annotated[Person, Depends(parts.access.operator)],
    ) -> Done:
        """Have a series analyzed that was held at its deadline."""
        return Done(done=actions.proceed(request, person, series_instance_uid))

    return router
