"""What the console answers while the node drains: probes and scrapers, and nobody else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_PROBES: Final = frozenset(("/healthz", "/readyz", "/metrics"))


class UntilDrain:
    """Serves an application until the node drains; then its parts are stopping, too.

    Parameters
    ----------
    whole : ASGI application
    probes : ASGI application
        Answers `_PROBES` in its place.
    is_draining : callable
    """

    def __init__(self, whole: ASGIApp, probes: ASGIApp, *, is_draining: Callable[[], bool]) -> None:
        self._whole = whole
        self._probes = probes
        self._is_draining = is_draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if not self._is_draining() or scope["type"] != "http":
            await self._whole(scope, receive, send)
        elif scope["path"] in _PROBES:
            await self._probes(scope, receive, send)
        else:
            await PlainTextResponse("the node is draining\n", 503)(scope, receive, send)
