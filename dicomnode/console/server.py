"""Running the HTTP application in a thread of its own, on a socket bound beforehand."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from dicomnode.config import ConsoleTlsConfig, ListenConfig
from dicomnode.errors import ConfigError, StateError


class ConsoleServer:
    """Serves the console.

    Parameters
    ----------
    app : ASGI application
    config : ListenConfig
    tls : ConsoleTlsConfig, optional
        HTTPS instead of HTTP.

    Raises
    ------
    ConfigError
        If a file of `tls` cannot be used.
    """

    def __init__(
        self, app: ASGIApp, config: ListenConfig, *, tls: ConsoleTlsConfig | None = None
    ) -> None:
        self._config = config
        self._socket: socket.socket | None = None
        self._scheme = "http" if tls is None else "https"
        self._server = uvicorn.Server(
            uvicorn.Config(
                app,
                # Our log configuration serves; access lines would repeat what metrics count.
                log_config=None,
                access_log=False,
                lifespan="off",
                # `clients` alone believes proxies, and those that are configured alone.
                proxy_headers=False,
                server_header=False,
                **_tls_arguments(tls),
            )
        )
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Where a browser finds it, once started."""
        if self._socket is None:
            raise StateError("the console has not been started")
        host, port = self._socket.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        return f"{self._scheme}://{name}:{port}/"

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


def _tls_arguments(tls: ConsoleTlsConfig | None) -> dict[str, Any]:
    """Return what the server wants for HTTPS, having tried whether the files can be used."""
    if tls is None:
        return {}
    try:
        phrase = (
            None
            if tls.key_passphrase_file is None
            else tls.key_passphrase_file.read_text(encoding="utf-8").strip()
        )
        # A wrong or missing phrase is an error, not a question at the terminal.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
            tls.certificate, tls.key, password=lambda: phrase or ""
        )
    except (OSError, ValueError) as error:
        raise ConfigError((f"console.tls: certificate or key cannot be used: {error}",)) from error
    return {
        "ssl_certfile": str(tls.certificate),
        "ssl_keyfile": str(tls.key),
        "ssl_keyfile_password": phrase,
    }
