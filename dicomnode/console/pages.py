"""Rendering of pages: templates, and what every page shows whatever it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates
from jinja2 import StrictUndefined

from dicomnode import __version__
from dicomnode.console.access import Access, Person
from dicomnode.console.words import FILTERS

_HERE: Final = Path(__file__).parent

NAVIGATION: Final = (
    ("/", "Series"),
    ("/pipelines", "Pipelines"),
    ("/quarantine", "Quarantine"),
    ("/upload", "Upload"),
    ("/api/docs", "API"),
)
"""Path and name of the pages that every page leads to."""


class Pages:
    """Renders the templates of the console.

    Parameters
    ----------
    access : Access
        Knows the token of forms.
    """

    def __init__(self, access: Access) -> None:
        self._templates = Jinja2Templates(directory=_HERE / "templates")
        environment = self._templates.env
        environment.undefined = StrictUndefined
        environment.globals.update(
            version=__version__, navigation=NAVIGATION, form_token=access.form_token
        )
        environment.filters.update(FILTERS)

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
