"""Health and metrics alone, for a role without a console."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fastapi import FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


def build_health_app(*, readiness: Callable[[], Mapping[str, str | None]]) -> FastAPI:
    """Build the application: ``/healthz``, ``/readyz``, ``/metrics``.

    Parameters
    ----------
    readiness : callable
        Asks every component: its name to None if it is ready, else to the reason in words.
    """
    app = FastAPI(title="dicomnode", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> str:
        return "ok\n"

    @app.get("/readyz")
    def readyz() -> JSONResponse:
        found = readiness()
        ready = all(reason is None for reason in found.values())
        parts = {name: reason or "ready" for name, reason in found.items()}
        return JSONResponse({"ready": ready, "components": parts}, 200 if ready else 503)

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return app
