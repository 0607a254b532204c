"""The HTTP application: which routers there are, and what lies around them.  No route of its own.

Running it is `server`'s.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from dicomnode import __version__
from dicomnode.console import (
    api_docs,
    api_jobs,
    api_node,
    api_quarantine,
    api_results,
    api_series,
    health,
    overview,
    pipelines,
    quarantine,
    series,
    sign_in,
    upload,
    viewer,
)
from dicomnode.console.envelope import Envelope
from dicomnode.console.looks import Looks
from dicomnode.console.parts import Parts
from dicomnode.console.problems import add_handlers
from dicomnode.console.uploads import MARGIN_BYTES
from dicomnode.console.volumes import open_volumes

_ROUTERS: Final = (
    overview,
    series,
    pipelines,
    quarantine,
    upload,
    sign_in,
    api_series,
    api_jobs,
    api_node,
    api_quarantine,
    api_docs,
)

_STATIC: Final = Path(__file__).parent / "static"
_UPLOADS: Final = re.compile(r"/upload|/api/v1/pipelines/[^/]+/instances")

_DESCRIPTION: Final = """\
Everything that the console shows and does.  Programs show a bearer token, if access is configured;
the command dicomnode token makes one.  Errors are problem details (RFC 9457).  Times are ISO 8601,
UTC."""


def build_app(parts: Parts) -> FastAPI:
    """Build the application of all routers.

    Parameters
    ----------
    parts : Parts
    """
    app = FastAPI(
        title="dicomnode",
        version=__version__,
        description=_DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    most = parts.config.console.max_upload_bytes + MARGIN_BYTES
    app.add_middleware(
        Envelope, access=parts.access, max_body_bytes=partial(_most_of, most_of_uploads=most)
    )
    add_handlers(app, parts.pages)
    app.mount("/static", StaticFiles(directory=_STATIC), name="static")
    app.include_router(health.build_router(parts.probes))
    for module in _ROUTERS:
        app.include_router(module.build_router(parts))
    volumes = open_volumes(parts)
    looks = Looks(parts)
    for pictured in (viewer, api_results):
        app.include_router(pictured.build_router(parts, volumes, looks))
    return app


def _most_of(path: str, *, most_of_uploads: int) -> int | None:
    return most_of_uploads if _UPLOADS.fullmatch(path) else None
