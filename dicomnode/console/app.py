"""The HTTP application: routes and what they return.  Running it is `server`'s."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.templating import Jinja2Templates

from dicomnode import __version__
from dicomnode.console.health import Probes, health_routes
from dicomnode.database import Database
from dicomnode.database.job_rows import get_job, list_deliveries, list_jobs
from dicomnode.database.series_rows import list_series

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build_app(database: Database, *, probes: Probes) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    database : Database
        Read only.
    probes : Probes
        What ``/healthz``, ``/readyz`` and ``/metrics`` ask.
    """
    app = FastAPI(
        title="dicomnode",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    templates = Jinja2Templates(directory=Path(__file__).parent / "templates")

    @app.middleware("http")
    async def _secure(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        response.headers.update(_SECURITY_HEADERS)
        return response

    app.include_router(health_routes(probes))

    @app.get("/api/v1/series")
    def series(state: str | None = None, series_instance_uid: str | None = None) -> list[Any]:
        """List series, the latest first."""
        with database.begin() as transaction:
            rows = list_series(transaction, state=state, series_instance_uid=series_instance_uid)
        return [asdict(row) for row in rows]

    @app.get("/api/v1/jobs")
    def jobs(state: str | None = None, series_instance_uid: str | None = None) -> list[Any]:
        """List jobs, the latest first."""
        with database.begin() as transaction:
            rows = list_jobs(transaction, state=state, series_instance_uid=series_instance_uid)
        return [asdict(row) for row in rows]

    @app.get("/api/v1/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        """Show a job and its deliveries."""
        with database.begin() as transaction:
            row = get_job(transaction, job_id)
            deliveries = list_deliveries(transaction, job_id)
        if row is None:
            raise HTTPException(404, "no such job")
        return {**asdict(row), "deliveries": [asdict(each) for each in deliveries]}

    @app.get("/", response_class=HTMLResponse)
    def index(request: Request) -> Response:
        """Show what is ready and the latest jobs."""
        with database.begin() as transaction:
            rows = list_jobs(transaction, limit=200)
            entries = [(row, list_deliveries(transaction, row.id)) for row in rows]
            open_series = list_series(transaction, state="open", limit=200)
        return templates.TemplateResponse(
            request,
            "index.html",
            {
                "components": probes.readiness(),
                "jobs": entries,
                "open_series": open_series,
                "version": __version__,
            },
        )

    return app
