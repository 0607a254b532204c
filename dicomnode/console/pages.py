"""Rendering of pages: templates, and what every page shows whatever it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates

from dicomnode import __version__
from dicomnode.console.access import Person

_HERE = Path(__file__).parent


class Pages:
    """Renders the templates of the console."""

    def __init__(self) -> None:
        self._templates = Jinja2Templates(directory=_HERE / "templates")
        self._templates.env.globals["version"] = __version__

    def render(
        self,
        request: Request,
        template: str,
        person: Person | None,
        *,
        status: int = 200,
        **context: Any,
    ) -> Response:
        """Render a page that extends ``base.html``.

        Parameters
        ----------
        template : str
            A file of ``templates/``.
        person : Person or None
            Whoever asks; None before they have signed in.
        status : int
            Of HTTP.
        context : Any
            What the template uses beside ``person`` and ``version``.
        """
        return self._templates.TemplateResponse(
            request, template, {"person": person, **context}, status_code=status
        )
