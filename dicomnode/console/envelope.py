"""What is around every request and answer: the most a body may have, headers, cookies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import HTTPException, Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomnode.console.access import Access

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
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_FORM_BYTES: Final = 1 << 18
"""Of what is no upload."""


class Envelope:
    """The outermost layer of the application.

    Parameters
    ----------
    app : ASGIApp
    access : Access
    max_body_bytes : callable
        Told a path, the most that a body sent there may have.
    """

    def __init__(
        self, app: ASGIApp, *, access: Access, max_body_bytes: Callable[[str], int | None]
    ) -> None:
        self._app = app
        self._access = access
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        most = self._max_body_bytes(scope["path"])
        if most is None:
            most = _FORM_BYTES
        came = 0

        async def receive_some() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise HTTPException(413, f"wanted a body of at most {most} bytes, found more")
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(request, message)
            await send(message)

        await self._app(scope, receive_some, send_with_headers)

    def _add_headers(self, request: Request, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if request.url.path.startswith("/static/"):
            headers["Cache-Control"] = "no-cache"  # asked whether it changed, each time
        if self._access.client(request).is_https:
            headers.setdefault("Strict-Transport-Security", "max-age=31536000")
        # By a response of its own, which is not sent: it knows how cookies are written.
        visitor = Response()
        self._access.set_visitor(request, visitor)
        for cookie in visitor.headers.getlist("set-cookie"):
            headers.append("Set-Cookie", cookie)
