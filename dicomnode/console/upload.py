"""The page for uploads: files or a folder into a pipeline, with what became of each file."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.parts import Parts
from dicomnode.console.uploads import Uploads


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/upload``."""
    router = APIRouter(include_in_schema=False)
    uploads = Uploads(parts)

    @router.get("/upload", response_class=HTMLResponse)
    def show(request: Request, person: Annotated[Person, Depends(parts.access.viewer)]) -> Response:
        return parts.pages.render(
            request,
            "upload.html",
            person,
            pipelines=parts.setups.values(),
            max_upload_bytes=parts.config.console.max_upload_bytes,
            uploaded=None,
        )

    @router.post("/upload", response_class=HTMLResponse)
    async def upload(
        request: Request, person: Annotated[Person, Depends(parts.access.streaming_operator)]
    ) -> Response:
        uploaded = await uploads.take_form(request, person)
        return parts.pages.render(
            request,
            "upload.html",
            person,
            pipelines=parts.setups.values(),
            max_upload_bytes=parts.config.console.max_upload_bytes,
            uploaded=uploaded,
        )

    return router
