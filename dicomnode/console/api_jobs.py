"""REST API: series and jobs."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, HTTPException

from dicomnode.console.parts import Parts
from dicomnode.database.job_rows import get_job, list_deliveries, list_jobs
from dicomnode.database.series_rows import list_series


def build_router(parts: Parts) -> APIRouter:
    """Build the routes below ``/api/v1``."""
    router = APIRouter(prefix="/api/v1", dependencies=[Depends(parts.access.viewer)])
    database = parts.database

    @router.get("/series")
    def series(state: str | None = None, series_instance_uid: str | None = None) -> list[Any]:
        """List series, the latest first."""
        with database.begin() as transaction:
            rows = list_series(transaction, state=state, series_instance_uid=series_instance_uid)
        return [asdict(row) for row in rows]

    @router.get("/jobs")
    def jobs(state: str | None = None, series_instance_uid: str | None = None) -> list[Any]:
        """List jobs, the latest first."""
        with database.begin() as transaction:
            rows = list_jobs(transaction, state=state, series_instance_uid=series_instance_uid)
        return [asdict(row) for row in rows]

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> dict[str, Any]:
        """Show a job and its deliveries."""
        with database.begin() as transaction:
            row = get_job(transaction, job_id)
            deliveries = list_deliveries(transaction, job_id)
        if row is None:
            raise HTTPException(404, "no such job")
        return {**asdict(row), "deliveries": [asdict(each) for each in deliveries]}

    return router
