"""System shared memory for tensors: regions that cannot outlive their owner for long.

A region is a file of /dev/shm, locked (flock) by the process that made it.  A region nobody locks
was left by a killed process and may be swept.  Who registers it with a server is `client`'s work.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

FOLDER: Final = Path("/dev/shm")  # noqa: S108  where POSIX shared memory lives on Linux
PREFIX: Final = "dicomnode-tensor-"

# A region is made and then locked; one younger than this may be between the two.
_LOCKED_AFTER_SECONDS: Final = 10.0


class Region:
    """A piece of system shared memory, made here and named uniquely.

    Parameters
    ----------
    size_bytes : int

    Attributes
    ----------
    name : str
        As POSIX knows it, with the leading slash.
    size_bytes : int

    Raises
    ------
    OSError
        If there is not enough room: space is taken at once, because writing to a page that cannot
        be had later would end the process (SIGBUS).
    """

    def __init__(self, size_bytes: int) -> None:
        file_name = f"{PREFIX}{os.getpid()}-{uuid.uuid4().hex}"
        self.name = f"/{file_name}"
        self.size_bytes = size_bytes
        self._path = FOLDER / file_name
        flags = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _take_room(self._descriptor, size_bytes)
            self._map = mmap.mmap(self._descriptor, size_bytes)
        except OSError:
            self.release()
            raise

    def as_array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """Return the region's content; the array stays valid after `release`."""
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(self._map, dtype=dtype, count=count).reshape(shape)

    def release(self) -> None:
        """Give name and lock back; memory goes with the last array that shows it."""
        with contextlib.suppress(FileNotFoundError):  # an operator may have cleared the folder
            self._path.unlink()
        os.close(self._descriptor)


def _take_room(descriptor: int, size_bytes: int) -> None:
    # Asked first: the kernel would fill all memory there is before it says that it lacks some.
    free = os.fstatvfs(descriptor)
    if size_bytes > free.f_bavail * free.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.posix_fallocate(descriptor, 0, size_bytes)


def abandoned_regions() -> Iterator[Path]:
    """Find regions whose owner is gone."""
    for path in FOLDER.glob(f"{PREFIX}*"):
        try:
            if time.time() - path.stat().st_mtime < _LOCKED_AFTER_SECONDS:
                continue
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # gone by now, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            yield path
        finally:
            os.close(descriptor)
