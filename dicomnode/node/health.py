"""The port of a process for probes and scrapers, apart from the console's."""

from __future__ import annotations

from dicomnode.config import ListenConfig
from dicomnode.console.health import build_health_app
from dicomnode.console.probes import Probes
from dicomnode.console.server import ConsoleServer


def start_health(listen: ListenConfig, probes: Probes) -> ConsoleServer:
    """Answer probes and scrapers.

    Raises
    ------
    StateError
        If the port cannot be had.
    """
    server = ConsoleServer(build_health_app(probes), listen)
    server.start()
    return server
