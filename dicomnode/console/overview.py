"""The first page: what is ready, what arrives, what is worked on."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.parts import Parts
from dicomnode.database.job_rows import list_deliveries, list_jobs
from dicomnode.database.series_rows import list_series


def build_router(parts: Parts) -> APIRouter:
    """Build the route ``/``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/", response_class=HTMLResponse)
    def overview(
        request: Request, person: Annotated[Person, Depends(parts.access.viewer)]
    ) -> Response:
        with parts.database.begin() as transaction:
            rows = list_jobs(transaction, limit=200)
            entries = [(row, list_deliveries(transaction, row.id)) for row in rows]
            open_series = list_series(transaction, state="open", limit=200)
        return parts.pages.render(
            request,
            "overview.html",
            person,
            components=parts.readiness(),
            jobs=entries,
            open_series=open_series,
        )

    return router
