"""The page of pipelines, their models, and their destinations, which can be tested from here."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.actions import Actions
from dicomnode.console.facts import list_destinations, list_pipelines, returns_to_sender
from dicomnode.console.parts import Parts


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/pipelines`` and ``/destinations/...``."""
    router = APIRouter(include_in_schema=False)
    actions = Actions(parts)

    @router.get("/pipelines", response_class=HTMLResponse)
    def show(
        request: Request,
        person: Annotated[Person, Depends(parts.access.viewer)],
        tested: str = "",
    ) -> Response:
        destinations = list_destinations(parts)
        return parts.pages.render(
            request,
            "pipelines.html",
            person,
            pipelines=list_pipelines(parts),
            destinations=destinations,
            returns_to_sender=returns_to_sender(parts),
            components=parts.probes.readiness(),
            receive=parts.config.receive,
            tested=next((each for each in destinations if each.name == tested), None),
        )

    @router.post("/destinations/{name}/test")
    def test(
        request: Request, name: str, person: Annotated[Person, Depends(parts.access.operator)]
    ) -> RedirectResponse:
        actions.test(request, person, name)
        return RedirectResponse(f"/pipelines?tested={name}#destinations", 303)

    return router
