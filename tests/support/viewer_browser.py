"""Headless Chromium on a console that serves for real, and what went wrong in it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, expect

CHROMIUM = "/usr/bin/chromium"
_PATIENCE_MS = 60_000

expect.set_options(timeout=_PATIENCE_MS)

_ARGUMENTS = (
    "--no-sandbox",
    # Nothing outside is asked for.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_IN_SOFTWARE = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL 2 without graphics hardware; all else is drawn more slowly with it."""


def launch(playwright: Playwright, *, webgl: bool = False) -> Browser:
    """Start Debian's Chromium."""
    drawing = _IN_SOFTWARE if webgl else ("--disable-gpu",)
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[*_ARGUMENTS, *drawing])


@dataclass
class Tab:
    """A page and what it asked for and complained of."""

    page: Page
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def slices_requested(self) -> list[str]:
        """Return plane and index of each slice that was asked for, in order."""
        paths = (url.partition("?")[0] for url in self.requested if "/slices/" in url)
        return ["/".join(path.removesuffix(".png").split("/")[-2:]) for path in paths]


@contextmanager
def tab(browser: Browser, *, scripts: bool = True, **viewport: Any) -> Iterator[Tab]:
    """Open a tab; at its end nothing may have been complained of."""
    context = browser.new_context(
        java_script_enabled=scripts, viewport={"width": 1280, "height": 860, **viewport}
    )
    opened = Tab(context.new_page())
    page = opened.page
    page.set_default_timeout(_PATIENCE_MS)
    page.on("request", lambda request: opened.requested.append(request.url))
    # What is under way when a page is left is given up, which is no failure.
    page.on(
        "requestfailed",
        lambda request: (
            request.failure == "net::ERR_ABORTED"
            or opened.complaints.append(f"{request.failure} {request.url}")
        ),
    )
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on(
        "console",
        lambda message: message.type == "error" and opened.complaints.append(message.text),
    )
    page.on(
        "response",
        lambda answer: (
            answer.status >= 400 and opened.complaints.append(f"{answer.status} {answer.url}")
        ),
    )
    try:
        yield opened
        assert opened.complaints == []
    finally:
        context.close()


def pixels_of(shot: bytes) -> NDArray[np.int64]:
    """Return a screenshot as numbers, shape (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB")).astype(int)
