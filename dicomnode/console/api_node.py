"""REST API: the node itself: its state, pipelines, destinations, and uploads to it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel

from dicomnode import __version__
from dicomnode.console.access import Person
from dicomnode.console.actions import Actions
from dicomnode.console.api_series import Limit
from dicomnode.console.facts import (
    DestinationFacts,
    PipelineFacts,
    list_destinations,
    list_pipelines,
)
from dicomnode.console.parts import Parts
from dicomnode.console.problems import NOT_FOUND, RESPONSES
from dicomnode.console.uploads import Upload, Uploads
from dicomnode.database.check_rows import CheckRow
from dicomnode.database.note_rows import NoteRow, list_notes

Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]

_BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/dicom": {"schema": _BINARY},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"files": {"type": "array", "items": _BINARY, "minItems": 1}},
                    "required": ["files"],
                }
            },
        },
    }
}


class State(BaseModel):
    """The state of the node, and who asks."""

    version: str
    is_ready: bool
    components: dict[str, str]
    person: str
    role: str
    sees_patients: bool


def build_router(parts: Parts) -> APIRouter:
    """Build the other routes below ``/api/v1``."""
    router = APIRouter(prefix="/api/v1", tags=["node"], responses=RESPONSES)
    looks = [Depends(parts.access.viewer)]
    actions, uploads = Actions(parts), Uploads(parts)

    @router.get("/state")
    def state(person: Annotated[Person, Depends(parts.access.viewer)]) -> State:
        """Say of each component whether it is ready, and who asks."""
        found = parts.probes.readiness()
        return State(
            version=__version__,
            is_ready=all(reason is None for reason in found.values()),
            components={name: reason or "ready" for name, reason in found.items()},
            person=person.name,
            role=person.role,
            sees_patients=person.sees_patients,
        )

    @router.get("/pipelines", dependencies=looks)
    def pipelines() -> list[PipelineFacts]:
        """List pipelines with their models and whether these are ready."""
        return list_pipelines(parts)

    @router.post(
        "/pipelines/{name}/instances",
        responses={
            **NOT_FOUND,
            413: {"description": "More than console.max_upload_bytes came."},
        },
        openapi_extra=_UPLOAD_BODY,
    )
    async def upload(
        request: Request,
        name: Name,
        person: Annotated[Person, Depends(parts.access.streaming_operator)],
    ) -> Upload:
        """Bring DICOM files as if by C-STORE: one as the body, or any number as a form.

        What is answered as `stored` is durable.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/dicom":
            return await uploads.take_body(request, person, pipeline=name)
        return await uploads.take_form(request, person, pipeline=name)

    @router.get("/destinations", dependencies=looks)
    def destinations() -> list[DestinationFacts]:
        """List destinations, what each said when it was last asked, and its last delivery."""
        return list_destinations(parts)

    @router.post("/destinations/{name}/test", responses=NOT_FOUND)
    def test(
        request: Request, name: Name, person: Annotated[Person, Depends(parts.access.operator)]
    ) -> CheckRow:
        """Ask a destination now: by C-ECHO, over HTTP, or by writing into the folder."""
        return actions.test(request, person, name)

    @router.get("/received/notes", dependencies=looks)
    def notes(
        pipeline: Annotated[str | None, Query(max_length=40)] = None, limit: Limit = 1000
    ) -> list[NoteRow]:
        """List instances that were ignored, or came again with other content."""
        with parts.database.begin() as transaction:
            return list(list_notes(transaction, pipeline=pipeline, limit=limit))

    return router
