"""Whether a request that changes something comes from our own pages, or from a page elsewhere.

Both are wanted of a browser: that it says so itself, and that the form holds a token that only our
pages can know.  The token is derived from a cookie, so nothing needs to be remembered.
"""

from __future__ import annotations

import hashlib
import hmac

from fastapi import HTTPException, Request

from dicomnode.console.clients import Client

FIELD = "form_token"
"""Of forms; the header of scripts is ``X-Form-Token``."""


def form_token(cookie: str) -> str:
    """Return the token of the forms that go to a browser with this secret cookie."""
    return hmac.digest(cookie.encode(), b"form", hashlib.sha256).hex()


def check_origin(request: Request, client: Client) -> None:
    """Let a request pass that no page elsewhere has made.

    Raises
    ------
    HTTPException
        403 if a browser says that it comes from elsewhere.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        raise HTTPException(403, "the request was made by a page elsewhere")
    origin = request.headers.get("origin")
    if origin is not None and origin.lower() != client.origin:
        raise HTTPException(403, f"wanted the origin {client.origin}, found another")


def is_by_browser(request: Request) -> bool:
    """Whether a browser sent it: each sends one of these with what changes something."""
    return any(name in request.headers for name in ("sec-fetch-site", "origin", "cookie"))


def check_token(cookie: str | None, token: str | None) -> None:
    """Let a request pass whose form holds the token of its cookie.

    Raises
    ------
    HTTPException
        403 if it does not.
    """
    wanted = None if cookie is None else form_token(cookie)
    if wanted is None or token is None or not hmac.compare_digest(wanted, token):
        raise HTTPException(403, "the form is out of date: load the page again and repeat")
