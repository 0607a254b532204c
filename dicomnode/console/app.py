"""The HTTP application: routes and what they return.  Running it is `server`'s."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from fastapi.templating import Jinja2Templates
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from dicomnode import __version__
from dicomnode.database import Database
from dicomnode.database.job_rows import get_job, list_deliveries, list_jobs
from dicomnode.database.series_rows import list_series

Readiness = Callable[[], Mapping[str, str | None]]
"""Asks every component: its name to None if it is ready, else to the reason in words."""

_SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def build_app(database: Database, *, readiness: Readiness) -> FastAPI:
    """Build the application.

    Parameters
    ----------
    database : Database
        Read only.
    readiness : callable
        Asked by ``/readyz``.
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

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        """Answer while the process lives."""
        return "ok\n"

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        """Say of each component whether it is ready; 503 if one is not."""
        found = readiness()
        ready = all(reason is None for reason in found.values())
        parts = {name: reason or "ready" for name, reason in found.items()}
        return JSONResponse({"ready": ready, "components": parts}, 200 if ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        """Give the metrics in Prometheus' text form."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

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
                "components": readiness(),
                "jobs": entries,
                "open_series": open_series,
                "version": __version__,
            },
        )

    return app
