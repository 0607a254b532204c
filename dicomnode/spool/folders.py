"""Folders that files are being put into: kept open, known to be durable, synced for many at once.

Names and syncs only; what the files hold, `incoming` and `instances` know.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Final

from dicomnode.spool.durable import open_folder_durably

_MOST_OPEN: Final = 64
_ATTEMPTS: Final = 3


class OpenFolders:
    """The folders last used.  May be used by several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._open: OrderedDict[Path, _Folder] = OrderedDict()

    def move_into(self, source: Path, target: Path, *, descriptor: int) -> None:
        """Rename `source` to `target` and make content and entry durable.

        The name comes first, and one commit of the file system's journal has both: a sync before
        and one after the rename would wait for two.  So until this returns `target` may be half
        after a power cut, and must not be relied on by anybody else.

        Parameters
        ----------
        source : Path
            A file, written to its end.
        target : Path
            Its final name; the folder is made where it is absent.
        descriptor : int
            Of the open file.

        Raises
        ------
        OSError
            If it cannot be renamed or synced; then nothing stands at `target`.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            folder = self._get(target.parent)
            try:
                # By descriptor: a folder that was removed and made again is not mistaken for
                # the one that is going to be synced.
                os.rename(source, target.name, dst_dir_fd=folder.descriptor)
            except FileNotFoundError:
                self._forget(target.parent)
                if attempt == _ATTEMPTS:
                    raise
            else:
                try:
                    os.fsync(descriptor)
                    folder.sync()
                except BaseException:
                    # What could not be synced may be gone from memory, too: never to be found.
                    target.unlink(missing_ok=True)
                    raise
                return

    def _get(self, path: Path) -> _Folder:
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

    def _forget(self, path: Path) -> None:
        with self._guard:
            self._open.pop(path, None)


class _Folder:
    """One open folder; closed when the last of its users is done."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = open_folder_durably(path)
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
