"""Liveness, readiness and metrics: open to all, for a role with and without a console."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from dicomnode.console.probes import Probes
from dicomnode.metrics.page import CONTENT_TYPE


def build_router(probes: Probes) -> APIRouter:
    """Return ``/healthz``, ``/readyz`` and ``/metrics``."""
    router = APIRouter(include_in_schema=False)

    @router.get("/healthz", response_class=PlainTextResponse)
    def healthz() -> Response:
        """Answer while the process lives; 503 names the loops that hang or have ended."""
        stuck = {name: words for name, words in probes.liveness().items() if words}
        lines = "".join(f"{name}: {words}\n" for name, words in stuck.items())
        return PlainTextResponse(lines or "ok\n", 503 if stuck else 200)

    @router.get("/readyz")
    def readyz() -> JSONResponse:
        """Say of each component whether it is ready; 503 if one is not."""
        found = probes.readiness()
        ready = all(reason is None for reason in found.values())
        parts = {name: reason or "ready" for name, reason in found.items()}
        return JSONResponse({"ready": ready, "components": parts}, 200 if ready else 503)

    @router.get("/metrics")
    def metrics() -> Response:
        """Give the metrics in Prometheus' text form."""
        return Response(probes.metrics(), media_type=CONTENT_TYPE)

    return router


def build_health_app(probes: Probes) -> FastAPI:
    """Build an application of nothing else."""
    app = FastAPI(title="dicomnode", openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(build_router(probes))
    return app
