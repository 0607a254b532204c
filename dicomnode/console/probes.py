"""What probes and scrapers ask.  How they are answered over HTTP, `health` knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dicomnode.metrics.page import Page

Ask = Callable[[], Mapping[str, str | None]]
"""Asks every part: its name to None if all is well, else to what is not, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probes:
    """What probes and scrapers ask.

    Attributes
    ----------
    readiness : callable
        Of each component, whether it is ready.
    liveness : callable
        Of each loop, whether it goes round.
    metrics : callable
        Makes the page that Prometheus scrapes.
    """

    readiness: Ask = dict
    liveness: Ask = dict
    metrics: Callable[[], bytes] = Page().render
