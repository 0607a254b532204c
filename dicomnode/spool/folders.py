"""Folders that files are being put into: kept open, known to be durable, synced for many at once.

Names and syncs only; what the files hold, `incoming` and `instances` know.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from dicomnode.spool.durable import create_part, open_folder_durably

_MOST_OPEN: Final = 64
_ATTEMPTS: Final = 3


class OpenFolders:
    """The folders last used.  May be used by several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: OrderedDict[str, _Folder] = OrderedDict()

    def open(self, folder: str) -> None:
        """Open a folder, made durably where it is absent, before it is needed.

        Raises
        ------
        OSError
            If it cannot be made, synced or opened.
        """
        self._get(folder)

    def create_part(self, folder: str) -> Part:
        """Make a file in the making.

        Parameters
        ----------
        folder : str
            Made where it is absent.

        Raises
        ------
        OSError
            If it cannot be made.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            opened = self._get(folder)
            try:
                name, descriptor = create_part(opened.descriptor)
            except FileNotFoundError:
                # Somebody removed the folder under our hands.
                self._forget(folder)
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        return Part(opened, name, descriptor)

    def settle(self, part: Part, folder: str, name: str) -> None:
        """Give a file in the making its final name, and make content and entry durable.

        The name comes first, and one commit of the file system's journal has both: a sync before
        and one after the rename would wait for two.  So until this returns `name` may be half
        after a power cut, and must not be relied on by anybody else.

        Parameters
        ----------
        part : Part
            Written to its end; on return it has ended, by whatever way.
        folder : str
            Made where it is absent.
        name : str
            In that folder.

        Raises
        ------
        OSError
            If it cannot be renamed or synced; then nothing stands under that name.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            target = self._get(folder)
            try:
                # By descriptor: a folder that was removed and made again is not mistaken for
                # the one that is going to be synced.
                part.rename(target, name)
            except FileNotFoundError:
                self._forget(folder)
                if attempt == _ATTEMPTS:
                    raise
            else:
                break
        try:
            os.fsync(part.descriptor)
            target.sync()
        except BaseException:
            # What could not be synced may be gone from memory, too: never to be found.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=target.descriptor)
            raise

    def _get(self, path: str) -> _Folder:
        with self._guard:
            folder = self._open.get(path)
            if folder is not None:
                self._open.move_to_end(path)
                return folder
        folder = _Folder(path)
        with self._guard:
            # Another thread may have been faster: there must be one to share syncs with.
            folder = self._open.setdefault(path, folder)
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return folder

    def _forget(self, path: str) -> None:
        with self._guard:
            self._open.pop(path, None)


class Part:
    """A file in the making.

    Attributes
    ----------
    descriptor : int
        Open for reading and writing.
    """

    __slots__ = ("_folder", "_name", "descriptor")

    def __init__(self, folder: _Folder, name: str, descriptor: int) -> None:
        self._folder = folder
        self._name: str | None = name
        self.descriptor = descriptor

    def rename(self, folder: _Folder, name: str) -> None:
        """Move it; from then on it is no file in the making any more."""
        if self._name is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        os.rename(
            self._name, name, src_dir_fd=self._folder.descriptor, dst_dir_fd=folder.descriptor
        )
        self._name = None

    def close(self) -> None:
        """Close it, and remove it if it was not moved; may be called again."""
        name, self._name = self._name, None
        descriptor, self.descriptor = self.descriptor, -1
        try:
            if name is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self._folder.descriptor)
        finally:
            if descriptor >= 0:
                os.close(descriptor)


class _Folder:
    """One open folder; closed when the last of its users is done."""

    def __init__(self, path: str) -> None:
        self.descriptor = -1
        self.descriptor = open_folder_durably(Path(path))
        self._changed = threading.Condition()
        self._is_syncing = False
        self._begun = 0
        self._done = 0

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def sync(self) -> None:
        """Make all entries that are there now durable.

        Whoever comes while a sync is running waits for the next one, which then serves all who
        wait: the one that runs may have begun too early for them.
        """
        with self._changed:
            wanted = self._begun + 1
            while self._is_syncing and self._done < wanted:
                self._changed.wait()
            if self._done >= wanted:
                return
            self._is_syncing = True
            self._begun += 1
            number = self._begun
        succeeded = False
        try:
            os.fsync(self.descriptor)
            succeeded = True
        finally:
            with self._changed:
                self._is_syncing = False
                if succeeded:
                    self._done = number
                self._changed.notify_all()
