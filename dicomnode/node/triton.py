"""The inference server of a process: the embedded one is started, another's client opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from dicomnode.config import Config, InferenceConfig
from dicomnode.database import Database
from dicomnode.inference.channel import Credentials
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import SHIPPED_MODELS
from dicomnode.inference.repository import with_instances
from dicomnode.inference.turns import Seats
from dicomnode.node.seats import open_seats


def open_triton(
    config: Config,
    stack: ExitStack,
    *,
    run_dir: Path | None = None,
    database: Database | None = None,
) -> TritonClient:
    """Return a client of the configured server; the embedded one is started first.

    Parameters
    ----------
    config : Config
    stack : ExitStack
        Takes what must be stopped and closed.
    run_dir : Path, optional
        Of the embedded server; ``triton`` in the data folder by default.
    database : Database, optional
        Of the workers that ask the same server: a model's limit then is theirs together.  The
        embedded server is asked by this process alone.

    Raises
    ------
    InferenceUnavailable
        If the embedded server cannot run here or does not load its models.
    """
    address = config.inference.triton
    explain = None
    if address == "embedded":
        folder = config.data_dir / "triton" if run_dir is None else run_dir
        server = EmbeddedTriton(
            repositories=with_instances(
                (SHIPPED_MODELS, *config.inference.model_repositories),
                config.inference.model_instances,
                folder=folder / "models",
            ),
            run_dir=folder,
            startup_seconds=config.inference.startup_seconds,
            model_threads=config.inference.model_threads,
        )
        stack.callback(server.stop)
        server.start()
        address = server.address
        explain = server.explain
    seats = None
    if database is not None and config.inference.triton != "embedded":
        seats = open_seats(database, address)
        stack.callback(seats.close)
    return open_client(config, address, stack, explain=explain, seats=seats)


def open_client(
    config: Config,
    address: str,
    stack: ExitStack,
    *,
    explain: Callable[[], str | None] | None = None,
    seats: Seats | None = None,
) -> TritonClient:
    """Return a client of a server that runs, which `stack` closes; the rest is `TritonClient`'s."""
    client = TritonClient(
        address,
        timeout_seconds=config.inference.timeout_seconds,
        credentials=_credentials(config.inference),
        explain=explain,
        seats=seats,
    )
    stack.callback(client.close)
    return client


def _credentials(config: InferenceConfig) -> Credentials | None:
    if config.tls is None:
        return None
    return Credentials(
        tls=True,
        ca_file=config.tls.ca_file,
        cert_file=config.tls.cert_file,
        key_file=config.tls.key_file,
        token_file=config.token_file,
    )
