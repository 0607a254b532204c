"""The inference server of a process: the embedded one is started, another's client opened."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from dicomnode.config import Config, InferenceConfig
from dicomnode.inference.channel import Credentials
from dicomnode.inference.client import TritonClient
from dicomnode.inference.embedded import EmbeddedTriton
from dicomnode.inference.manifest import SHIPPED_MODELS
from dicomnode.inference.repository import with_instances


def open_triton(config: Config, stack: ExitStack, *, run_dir: Path | None = None) -> TritonClient:
    """Return a client of the configured server; the embedded one is started first.

    Parameters
    ----------
    config : Config
    stack : ExitStack
        Takes what must be stopped and closed.
    run_dir : Path, optional
        Of the embedded server; ``triton`` in the data folder by default.

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
    return open_client(config, address, stack, explain=explain)


def open_client(
    config: Config,
    address: str,
    stack: ExitStack,
    *,
    explain: Callable[[], str | None] | None = None,
) -> TritonClient:
    """Return a client of a server that runs; `stack` closes it, `explain` is `TritonClient`'s."""
    client = TritonClient(
        address,
        timeout_seconds=config.inference.timeout_seconds,
        credentials=_credentials(config.inference),
        explain=explain,
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
