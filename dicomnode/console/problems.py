"""What is answered to what is wrong: problem details (RFC 9457) to programs, pages to people.

Texts are ours or name what was wanted: what somebody sent is not sent back.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from dicomnode.console.pages import Pages
from dicomnode.database import is_away
from dicomnode.errors import NodeError, ReceiveError, StateError
from dicomnode.log import get_logger

MEDIA_TYPE: Final = "application/problem+json"

_log = get_logger(__name__)


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="Which parameter, or where in the body.")
    what: str


class Problem(BaseModel):
    """Problem details (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[Fault] = []


_CONTENT: Final = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}

RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    code: {"description": words, "content": _CONTENT}
    for code, words in (
        (400, "The body is not what it says it is."),
        (401, "Nobody is signed in, or the bearer token is nobody's."),
        (403, "Whoever asks may not do this."),
        (422, "A parameter is not what it should be."),
        (503, "The database does not answer now."),
    )
}
"""What every operation of the API may answer beside its own."""

NOT_FOUND: Final[dict[int | str, dict[str, Any]]] = {
    404: {
        "description": "There is no such thing.",
        "content": _CONTENT,
    }
}

CONFLICT: Final[dict[int | str, dict[str, Any]]] = {
    **NOT_FOUND,
    409: {
        "description": "It is not in a state in which this can be done; the detail says in which.",
        "content": _CONTENT,
    },
}


def answer_problem(
    status: int,
    detail: str,
    *,
    errors: list[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return problem details, as programs want them."""
    problem = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors or []
    )
    return JSONResponse(
        problem.model_dump(exclude_defaults=False),
        status,
        headers=None if headers is None else dict(headers),
        media_type=MEDIA_TYPE,
    )


def add_handlers(app: FastAPI, pages: Pages) -> None:
    """Have an application answer what is raised in it."""

    def answer(
        request: Request,
        status: int,
        detail: str,
        *,
        errors: list[Fault] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        if request.url.path.startswith("/api/"):
            return answer_problem(status, detail, errors=errors, headers=headers)
        if status == HTTPStatus.UNAUTHORIZED:
            return _to_sign_in(request)
        return pages.render(
            request,
            "problem.html",
            getattr(request.state, "person", None),
            status=status,
            title=HTTPStatus(status).phrase,
            detail=detail,
        )

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        return answer(request, error.status_code, str(error.detail), headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        faults = [
            Fault(where=".".join(map(str, each["loc"])), what=each["msg"])
            for each in error.errors()
        ]
        detail = "; ".join(f"{each.where}: {each.what}" for each in faults)
        return answer(request, 422, detail, errors=faults)

    @app.exception_handler(NodeError)
    async def _node(request: Request, error: NodeError) -> Response:
        status = 409 if isinstance(error, StateError) else 503 if error.retryable else 500
        if isinstance(error, ReceiveError) and not error.retryable:
            status = 409
        return answer(request, status, str(error))

    @app.exception_handler(Exception)
    async def _other(request: Request, error: Exception) -> Response:
        if is_away(error):
            _log.error("database_away", path=request.url.path, reason=type(error).__name__)
            return answer(request, 503, "the database does not answer now; try again")
        return answer(request, 500, "the console failed; the log says how")


def _to_sign_in(request: Request) -> Response:
    where = request.url.path
    if request.method != "GET":
        where = "/"
    elif request.url.query:
        where = f"{where}?{request.url.query}"
    return RedirectResponse(f"/sign-in?next={quote(where, safe='')}", 303)
