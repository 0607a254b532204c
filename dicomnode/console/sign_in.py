"""Signing in with a password, and out."""

import math
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from dicomnode.console.access import Person
from dicomnode.console.forgery import FIELD, check_origin
from dicomnode.console.parts import Parts


def build_router(parts: Parts) -> APIRouter:
    """Build the routes ``/sign-in`` and ``/sign-out``."""
    router = APIRouter(include_in_schema=False)
    access, audit = parts.access, parts.audit

    def page(request: Request, *, words: str = "", status: int = 200, wanted: str) -> Response:
        return parts.pages.render(
            request,
            "sign_in.html",
            None,
            status=status,
            words=words,
            wanted=wanted,
            is_private=access.client(request).is_private,
            has_passwords=access.has_passwords,
        )

    @router.get("/sign-in", response_class=HTMLResponse)
    def show(request: Request, next: str = "/") -> Response:  # noqa: A002 - the parameter's name
        wanted = _local(next)
        if access.find(request) is not None:
            return RedirectResponse(wanted, 303)
        return page(request, wanted=wanted, status=200)

    @router.post("/sign-in", response_class=HTMLResponse)
    async def sign_in(request: Request) -> Response:
        client = access.client(request)
        check_origin(request, client)
        form = await request.form()
        name, password, wanted, token = (
            str(form.get(key, "")) for key in ("name", "password", "next", FIELD)
        )
        access.check_visitor(request, token)
        wanted = _local(wanted)
        if not client.is_private or not access.has_passwords:
            return page(request, wanted=wanted, status=403)
        if wait := access.wait_seconds(request, name):
            audit.refused(request, name, "too many failures")
            words = f"Too many failures. Try again in {math.ceil(wait / 60)} minutes."
            response = page(request, words=words, wanted=wanted, status=429)
            response.headers["Retry-After"] = str(math.ceil(wait))
            return response
        entry = await run_in_threadpool(access.sign_in, request, name, password)
        if entry is None:
            audit.refused(request, name, "wrong name or password")
            words = "Name and password do not belong together."
            return page(request, words=words, wanted=wanted, status=401)
        response = RedirectResponse(wanted, 303)
        await run_in_threadpool(access.open_session, request, response, entry)
        audit.signed_in(request, entry.name)
        return response

    @router.post("/sign-out")
    def sign_out(
        request: Request, person: Annotated[Person, Depends(access.viewer)]
    ) -> RedirectResponse:
        response = RedirectResponse("/sign-in", 303)
        access.close_session(request, response)
        audit.signed_out(request, person.name)
        return response

    return router


def _local(path: str) -> str:
    """Return a path of ours, the first page instead of anything else."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if is_ours and not path.startswith("/sign-") else "/"
