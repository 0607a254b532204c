"""The page of the quarantine: what could not be used, why, from whom; and releasing it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.actions import Actions
from dicomnode.console.parts import Parts

_PAGE = 50


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/quarantine``."""
    router = APIRouter(include_in_schema=False)
    actions = Actions(parts)

    @router.get("/quarantine", response_class=HTMLResponse)
    def show(
        request: Request,
        person: Annotated[Person, Depends(parts.access.viewer)],
        page: Annotated[int, Query(ge=1, le=100_000)] = 1,
        released: str = "",
    ) -> Response:
        items = parts.quarantine.list()
        first = _PAGE * (page - 1)
        return parts.pages.render(
            request,
            "quarantine.html",
            person,
            items=items[first : first + _PAGE],
            count=len(items),
            page=page,
            has_more=len(items) > first + _PAGE,
            was_released=bool(released),
        )

    @router.post("/quarantine/{identifier}/release")
    def release(
        request: Request,
        identifier: str,
        person: Annotated[Person, Depends(parts.access.operator)],
    ) -> RedirectResponse:
        actions.release(request, person, identifier)
        return RedirectResponse("/quarantine?released=yes", 303)

    return router
