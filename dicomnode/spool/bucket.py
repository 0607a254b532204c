"""Objects in an S3 bucket.  The only module that speaks to an object store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore, S3Store

from dicomnode.config import StorageConfig
from dicomnode.errors import ConfigError, StorageUnavailable
from dicomnode.spool.durable import write_durably

_CHUNK_BYTES: Final = 8 * 1024**2
_AT_ONCE: Final = 500
_RETRIES: Final = 3


def open_bucket(config: StorageConfig) -> Bucket:
    """Return the bucket of a configuration; nothing is asked of it yet.

    Raises
    ------
    ConfigError
        If the secret cannot be read.
    """
    secret: str | None = None
    if config.secret_key_file is not None:
        try:
            secret = config.secret_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError((f"storage.secret_key_file: cannot be read: {error}",)) from error
    is_plain = config.endpoint is not None and config.endpoint.startswith("http://")
    timeout = timedelta(seconds=config.timeout_seconds)
    store = S3Store(
        config.bucket,
        prefix=config.prefix or None,
        endpoint=config.endpoint,
        region=config.region,
        access_key_id=config.access_key_id,
        secret_access_key=secret,
        virtual_hosted_style_request=False,
        client_options={"timeout": timeout, "allow_http": is_plain},
        # A sender waits for the answer to its C-STORE meanwhile.
        retry_config={"max_retries": _RETRIES, "retry_timeout": timeout},
    )
    return Bucket(store)


class Bucket:
    """Objects of one store, as `Shared` has them.

    Parameters
    ----------
    store : obstore.store.ObjectStore
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, key: str, path: Path) -> None:
        """Store the content of a file; S3 has it durable when it says so."""
        with path.open("rb") as file, _in_words():
            obstore.put(self._store, key, file)

    def fetch(self, key: str, path: Path) -> bool:
        """Make a file of an object, whole or not at all; False if there is no such object."""
        try:
            with _in_words():
                found = obstore.get(self._store, key)
        except _NoObject:
            return False
        write_durably(path, _chunks(found))
        return True

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            with _in_words():
                obstore.head(self._store, key)
        except _NoObject:
            return False
        return True

    def list(self, prefix: str) -> Iterator[tuple[str, datetime, int]]:
        """Yield key, time of storing and size in bytes of all objects below ``prefix/``."""
        with _in_words():
            for page in obstore.list(self._store, prefix=prefix):
                for each in page:
                    yield each["path"], each["last_modified"], each["size"]

    def remove(self, keys: Iterable[str]) -> None:
        """Remove objects; what is gone already is no fault."""
        left = list(keys)
        while left:
            now, left = left[:_AT_ONCE], left[_AT_ONCE:]
            try:
                with _in_words():
                    obstore.delete(self._store, now)
            except _NoObject:
                continue


def _chunks(found: obstore.GetResult) -> Iterator[memoryview]:
    with _in_words():
        for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
            yield memoryview(chunk)


class _NoObject(Exception):
    """There is no such object."""


@contextmanager
def _in_words() -> Iterator[None]:
    """Turn what the library raises into our errors; an absent object is one of its own."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise _NoObject from error
    except BaseError as error:
        # Its text has addresses and keys, and of some faults a page of XML.
        raise StorageUnavailable(
            f"the object store does not do what it was asked ({type(error).__name__})"
        ) from error
