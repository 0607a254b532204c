"""The stores of a process as its configuration has them: on a disk, or copies of a bucket."""

from __future__ import annotations

from dataclasses import dataclass

from dicomnode.config import Config, StorageConfig
from dicomnode.errors import ConfigError, StorageUnavailable
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox
from dicomnode.spool.shared import Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Where a process keeps what must outlive it.

    Attributes
    ----------
    store : InstanceStore
    outbox : Outbox
    quarantine : Quarantine
    shared : Shared or None
        The bucket that they are copies of; None: the disk is the truth.
    """

    store: InstanceStore
    outbox: Outbox
    quarantine: Quarantine
    shared: Shared | None

    def ping(self) -> str | None:
        """Ask the bucket; return None if it answers or there is none, else the trouble."""
        if self.shared is None:
            return None
        try:
            self.shared.has("ping")
        except StorageUnavailable as error:
            return str(error)
        return None


def open_storage(config: Config) -> Storage:
    """Open the stores of a configuration.

    Raises
    ------
    ConfigError
        If a bucket is configured and cannot be used from here.
    OSError
        If the folders cannot be made.
    """
    shared = None if config.storage is None else _open_shared(config.storage)
    root = config.data_dir
    return Storage(
        store=InstanceStore(root, reserve_bytes=config.receive.reserve_bytes, shared=shared),
        outbox=Outbox(root, shared=shared),
        quarantine=Quarantine(root, shared=shared),
        shared=shared,
    )


def _open_shared(config: StorageConfig) -> Shared:
    try:
        from dicomnode.spool.bucket import open_bucket  # noqa: PLC0415  (comes with the extra)
    except ModuleNotFoundError as error:
        raise ConfigError(
            ("storage: wanted the extra s3, found it not installed: pip install dicomnode-ct[s3]",)
        ) from error
    return open_bucket(config)
