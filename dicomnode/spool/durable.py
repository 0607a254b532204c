"""Writing a file so that it survives a power cut.  No names, keys or DICOM here.

A file appears under its final name whole or not at all: it is written beside it under a name that
ends in ``.part``, synced, renamed, and the folder is synced.  A writer holds a lock on what it is
making, so that `remove_leftovers` can tell the leftover of a dead process from work in progress.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

PART: Final = ".part"
"""How the name of a file in the making ends."""

_ATTEMPTS: Final = 3
_FOLDERS_REMEMBERED: Final = 4096

_PART_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC

_number = itertools.count()
_durable_folders: dict[str, tuple[int, int]] = {}
_guard = threading.Lock()


def write_durably(path: Path, content: bytes | Iterable[bytes | memoryview]) -> None:
    """Write `content` to `path`; on return it survives ``kill -9`` and a power cut.

    Missing parent folders are made, durably too.  An older file of that name is replaced whole.

    Parameters
    ----------
    path : Path
        The final name.
    content : bytes or iterable of bytes
        The content, whole or in chunks that are written one after the other.

    Raises
    ------
    OSError
        If anything could not be written or synced.  Nothing then stands under the final name that
        did not stand there before.
    """
    chunks = (content,) if isinstance(content, bytes) else content
    # What can be read once only can be written once only.
    attempts = 1 if isinstance(chunks, Iterator) else _ATTEMPTS
    for attempt in range(1, attempts + 1):
        try:
            _write_once(path, chunks)
        except FileNotFoundError:
            # Somebody removed the folder, or the file in the making, under our hands.
            if attempt == attempts:
                raise
        else:
            return


def make_folder_durably(folder: Path) -> None:
    """Make `folder` and its missing parents, and sync each entry that leads to it.

    Raises
    ------
    OSError
        If a folder cannot be made or synced.
    """
    _make(folder)
    with _opened(folder) as descriptor:
        _ensure_entry_durable(folder, descriptor)


def open_folder_durably(folder: Path) -> int:
    """Return a descriptor of `folder`, made as by `make_folder_durably`; the caller closes it.

    Raises
    ------
    OSError
        If it cannot be made, synced or opened.
    """
    _make(folder)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _ensure_entry_durable(folder, descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def create_part(folder_descriptor: int) -> tuple[str, int]:
    """Make a file in the making in a folder, locked so that `remove_leftovers` spares it.

    Parameters
    ----------
    folder_descriptor : int
        Of the open folder.

    Returns
    -------
    str
        Its name, which ends in `PART` and is nobody else's.
    int
        Its descriptor, open for reading and writing; the caller closes it.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    name = f"{os.getpid()}-{next(_number)}{PART}"
    descriptor = os.open(name, _PART_FLAGS, 0o640, dir_fd=folder_descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        os.unlink(name, dir_fd=folder_descriptor)
        raise
    return name, descriptor


def write_all(descriptor: int, chunk: bytes | memoryview) -> None:
    """Write the whole of `chunk`.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    written = os.write(descriptor, chunk)
    while written < len(chunk):
        written += os.write(descriptor, memoryview(chunk)[written:])


def sync_folder(folder: Path) -> None:
    """Make the entries of `folder` durable: what was renamed into it or removed from it.

    Raises
    ------
    OSError
        If the folder cannot be opened or synced.
    """
    with _opened(folder) as descriptor:
        os.fsync(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable.

    Raises
    ------
    OSError
        If it cannot be synced.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())


def move_durably(source: Path, target: Path) -> None:
    """Rename `source` to `target` within one file system and sync both folders.

    Raises
    ------
    OSError
        If it cannot be renamed or synced.
    """
    make_folder_durably(target.parent)
    source.replace(target)
    sync_folder(target.parent)
    sync_folder(source.parent)


def remove_leftovers(folder: Path) -> int:
    """Remove the ``.part`` files below `folder` that no living process is writing.

    Returns
    -------
    int
        How many were removed.
    """
    return sum(_remove_if_dead(part) for part in sorted(folder.rglob(f"*{PART}")))


def _write_once(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    folder = path.parent
    _make(folder)
    # Unique among processes and threads, and short enough for any name that PS3.5 UIDs give.
    part = folder / f".{os.getpid()}-{next(_number)}-{path.name[-100:]}{PART}"
    with _opened(folder) as folder_descriptor:
        _ensure_entry_durable(folder, folder_descriptor)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for chunk in chunks:
                write_all(descriptor, chunk)
            os.fsync(descriptor)
            part.rename(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        os.fsync(folder_descriptor)


def _make(folder: Path) -> None:
    """Make `folder` and missing parents; what is newly made is not known to be durable."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        _make(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
    else:
        with _guard:
            _durable_folders.pop(os.path.realpath(folder), None)


def _ensure_entry_durable(folder: Path, descriptor: int) -> None:
    """Sync the entries from the root of the file tree down to `folder`, once per folder.

    A folder made by another thread or process may stand there with its entry not yet synced;
    who acknowledges a file in it must not rely on the other.  The inode tells a folder that was
    removed and made again from the one that is known to be durable.
    """
    status = os.fstat(descriptor)
    identity = (status.st_dev, status.st_ino)
    name = os.path.realpath(folder)
    with _guard:
        if _durable_folders.get(name) == identity:
            return
    parent = Path(name).parent
    if str(parent) != name and os.access(parent, os.R_OK):
        with _opened(parent) as above:
            os.fsync(above)
            _ensure_entry_durable(parent, above)
    with _guard:
        if len(_durable_folders) >= _FOLDERS_REMEMBERED:
            _durable_folders.clear()
        _durable_folders[name] = identity


class _opened:  # noqa: N801 - reads as `with _opened(folder) as descriptor`
    """A folder's descriptor for as long as the block runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> int:
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _remove_if_dead(part: Path) -> bool:
    try:
        descriptor = os.open(part, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        part.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def read_chunks(path: Path, *, chunk_bytes: int = 1 << 20) -> Iterator[bytes]:
    """Yield the content of `path` in chunks, for copies of files of any size."""
    with path.open("rb") as file:
        while chunk := file.read(chunk_bytes):
            yield chunk
