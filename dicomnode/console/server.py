"""Running the HTTP application in a thread of its own, on a socket bound beforehand."""

from __future__ import annotations

import socket
import threading

import uvicorn
from fastapi import FastAPI

from dicomnode.config import ListenConfig
from dicomnode.errors import StateError


class ConsoleServer:
    """Serves the console.

    Parameters
    ----------
    app : FastAPI
    config : ListenConfig
    """

    def __init__(self, app: FastAPI, config: ListenConfig) -> None:
        self._config = config
        self._socket: socket.socket | None = None
        self._server = uvicorn.Server(
            # Our log configuration serves; access lines would repeat what metrics count.
            uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
        )
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where a browser finds it, once started."""
        if self._socket is None:
            raise StateError("the console has not been started")
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    def start(self) -> None:
        """Bind and serve.

        Raises
        ------
        StateError
            If the address cannot be bound.
        """
        host, port = self._config.host, self._config.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            listener.close()
            raise StateError(
                f"console: cannot listen on {host} port {port}: {error.strerror}"
            ) from error
        listener.listen()
        self._socket = listener
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="console", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish open requests and stop."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(timeout=10)
        if self._socket is not None:
            self._socket.close()
