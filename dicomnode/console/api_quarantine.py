"""REST API: what could not be used, and releasing it."""

from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request

from dicomnode.console.access import Person
from dicomnode.console.actions import Actions
from dicomnode.console.api_series import Limit
from dicomnode.console.parts import Parts
from dicomnode.console.problems import CONFLICT, NOT_FOUND, RESPONSES
from dicomnode.errors import StateError
from dicomnode.model.instance import InstanceRef
from dicomnode.spool.quarantine import QuarantinedItem

Identifier = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$")]


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/api/v1/quarantine``."""
    router = APIRouter(prefix="/api/v1/quarantine", tags=["quarantine"], responses=RESPONSES)
    looks = [Depends(parts.access.viewer)]
    actions = Actions(parts)

    @router.get("", dependencies=looks)
    def quarantine(
        limit: Limit = 1000, offset: Annotated[int, Query(ge=0, le=10_000_000)] = 0
    ) -> list[QuarantinedItem]:
        """List what could not be used, the latest first."""
        return list(parts.quarantine.list()[offset : offset + limit])

    @router.get("/{identifier}", dependencies=looks, responses=NOT_FOUND)
    def quarantined(identifier: Identifier) -> QuarantinedItem:
        """Show why an object is in quarantine, and from whom it came."""
        try:
            return parts.quarantine.get(identifier)
        except StateError as error:
            raise HTTPException(404, "there is no such object in quarantine") from error

    @router.post("/{identifier}/release", responses=CONFLICT)
    def release(
        request: Request,
        identifier: Identifier,
        person: Annotated[Person, Depends(parts.access.operator)],
    ) -> InstanceRef:
        """Take an object into the pipeline it was sent to; it stays in quarantine as evidence."""
        return actions.release(request, person, identifier)

    return router
