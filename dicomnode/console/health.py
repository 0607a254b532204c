"""Health and metrics: open to all, for a role with and without a console."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


def build_health_app(*, readiness: Callable[[], Mapping[str, str | None]]) -> FastAPI:
    """Build an application of nothing else.

    Parameters
    ----------
    readiness : callable
        Asks every component: its name to None if it is ready, else to the reason in words.
    """
    app = FastAPI(title="dicomnode", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(build_router(readiness))
    return app


def build_router(readiness: Callable[[], Mapping[str, str | None]]) -> APIRouter:
    """Build the routes ``/healthz``, ``/readyz``, ``/metrics``.

    Parameters
    ----------
    readiness : callable
        As above.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        """Answer while the process lives."""
        return "ok\n"

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        """Say of each component whether it is ready; 503 if one is not."""
        found = readiness()
        ready = all(reason is None for reason in found.values())
        parts = {name: reason or "ready" for name, reason in found.items()}
        return JSONResponse({"ready": ready, "components": parts}, 200 if ready else 503)

    @router.get("/metrics")
    def metrics() -> Response:
        """Give the metrics in Prometheus' text form."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return router
