"""A ``.npy`` file that is filled in place and then made durable.  What it holds is `workspace`'s.

An array in memory that is written to a file is there twice: for a volume that is hundreds of
megabytes of pages, which cost more to have than to fill.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dicomnode.errors import StateError
from dicomnode.spool.durable import create_part, open_folder_durably, write_all


class ArrayFile:
    """An array's file in the making; leaving the block removes what was not kept.

    Parameters
    ----------
    path : Path
        The final name.
    dtype : dtype
        Of the array.
    """

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self._path = path
        self._dtype = np.dtype(dtype)
        self._folder: int | None = None
        self._part: tuple[str, int] | None = None
        self._made: NDArray[Any] | None = None

    def __enter__(self) -> Self:
        self._folder = open_folder_durably(self._path.parent)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._drop()
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def make(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """Return the array to fill, in place of one that was made before.

        Its values are not defined.  It stays usable when the block is left.

        Raises
        ------
        OSError
            If there is not enough room: all of it is taken at once, because writing to a page
            that cannot be had later would end the process (SIGBUS).
        """
        if self._folder is None:
            raise StateError("wanted an array file in a with block")
        self._drop()
        self._part = create_part(self._folder)
        descriptor = self._part[1]
        header = io.BytesIO()
        facts = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, facts)  # type: ignore[no-untyped-call]  # numpy has none
        before = header.getvalue()
        size = len(before) + int(np.prod(shape, dtype=np.int64)) * self._dtype.itemsize
        _take_room(descriptor, size)
        write_all(descriptor, before)
        content = mmap.mmap(descriptor, size)
        flat = np.frombuffer(content, dtype=self._dtype, offset=len(before))
        self._made = flat.reshape(shape)
        return self._made

    def holds(self, array: NDArray[Any]) -> bool:
        """Whether the array is the one that was made last."""
        return self._made is not None and np.shares_memory(self._made, array)

    def keep(self) -> None:
        """Make what was filled in durable, under the final name.

        Raises
        ------
        OSError
            If it cannot be synced or renamed.
        """
        if self._folder is None or self._part is None:
            raise StateError("wanted an array file with an array, found none")
        name, descriptor = self._part
        os.fsync(descriptor)
        os.rename(name, self._path.name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        os.fsync(self._folder)
        os.close(descriptor)
        self._part = None

    def _drop(self) -> None:
        if self._part is not None and self._folder is not None:
            name, descriptor = self._part
            os.unlink(name, dir_fd=self._folder)
            os.close(descriptor)
            self._part = None
            self._made = None


def _take_room(descriptor: int, size_bytes: int) -> None:
    # Asked first: the kernel would fill the whole disk before it says that it lacks some.
    free = os.fstatvfs(descriptor)
    if size_bytes > free.f_bavail * free.f_frsize:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.posix_fallocate(descriptor, 0, size_bytes)
