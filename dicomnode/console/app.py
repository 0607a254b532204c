"""The HTTP application: which routers there are, and what every answer has.  No route of its own.

Running it is `server`'s.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles

from dicomnode import __version__
from dicomnode.console import api_jobs, health, overview
from dicomnode.console.parts import Parts

STRICT: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""Content Security Policy of all pages that set none of their own."""

_HEADERS: Final = {
    "Content-Security-Policy": STRICT,
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer: browsers then send forms with the origin "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_STATIC: Final = Path(__file__).parent / "static"


def build_app(parts: Parts) -> FastAPI:
    """Build the application of all routers.

    Parameters
    ----------
    parts : Parts
    """
    app = FastAPI(
        title="dicomnode",
        version=__version__,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )

    @app.middleware("http")
    async def _secure(request: Request, call_next: Any) -> Response:
        response: Response = await call_next(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    probes = health.Probes(
        readiness=parts.readiness, liveness=parts.liveness, metrics=parts.metrics
    )
    app.include_router(health.build_router(probes))
    for module in (overview, api_jobs):
        app.include_router(module.build_router(parts))
    return app
