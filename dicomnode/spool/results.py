"""Results waiting to be sent, and the working files of jobs.  What they hold is not known here."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from dicomnode.errors import StateError
from dicomnode.spool.durable import make_folder_durably, write_durably
from dicomnode.spool.keys import checked_path
from dicomnode.spool.shared import Copies, Shared

_OUTBOX: Final = "outbox"
_WORK: Final = "work"
_JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_-]{0,199}", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)


class Outbox:
    """Result files as ``outbox/<job>/<name>`` and working files below ``work/<job>/``.

    Parameters
    ----------
    root : Path
        The spool, made where it is absent.
    shared : Shared or None
        Where results lie for all processes; those on the disk then are copies.  Working files
        never leave the disk.
    """

    def __init__(self, root: Path, *, shared: Shared | None = None) -> None:
        self._root = root.resolve()
        self._shared = shared
        self._copies = None if shared is None else Copies(shared, self._root, _OUTBOX)
        make_folder_durably(self._root / _OUTBOX)
        make_folder_durably(self._root / _WORK)

    def write(self, job_id: str, name: str, content: bytes) -> str:
        """Keep a result; on return it is durable.  Repeating it is harmless.

        Parameters
        ----------
        job_id : str
            Such as ``1.2.3.4:abcdef0123456789:chest-ct-1a2b3c4d``.
        name : str
            A plain file name.
        content : bytes

        Returns
        -------
        str
            The key under which `path` finds it.

        Raises
        ------
        StateError
            If job id or name cannot be part of a path.
        OSError
            If it cannot be written.
        StorageUnavailable
            If it is to be shared and cannot be.
        """
        if not _NAME.fullmatch(name):
            raise StateError(f"wanted a plain file name, found {name!r}")
        key = f"{_OUTBOX}/{_safe(job_id)}/{name}"
        path = checked_path(self._root, key, below=_OUTBOX)
        write_durably(path, content)
        if self._copies is not None:
            self._copies.share(key)
        return key

    def path(self, key: str) -> Path:
        """Return where the result of `key` lies; what is not on this disk is fetched.

        Raises
        ------
        StateError
            If `key` names nothing below the outbox.
        StorageUnavailable
            If it is not on a disk and cannot be fetched.
        """
        path = checked_path(self._root, key, below=_OUTBOX)
        if self._copies is not None:
            self._copies.bring(key)
        return path

    def remove(self, job_id: str) -> None:
        """Remove the results of a job, all of them.

        Raises
        ------
        StateError
            If the job id cannot be part of a path.
        OSError
            If they cannot be removed.
        """
        name = _safe(job_id)
        if self._shared is not None:
            self._shared.remove([key for key, *_ in self._shared.list(f"{_OUTBOX}/{name}")])
        _remove_tree(self._root / _OUTBOX / name)

    def work_dir(self, job_id: str) -> Path:
        """Return the folder for the working files of a job, made where it is absent.

        Its content need not survive anything: a step that finds it gone makes it again.

        Raises
        ------
        StateError
            If the job id cannot be part of a path.
        OSError
            If it cannot be made.
        """
        folder = self._root / _WORK / _safe(job_id)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_work(self, job_id: str) -> None:
        """Remove the working files of a job.

        Raises
        ------
        StateError
            If the job id cannot be part of a path.
        OSError
            If they cannot be removed.
        """
        _remove_tree(self._root / _WORK / _safe(job_id))

    def remove_orphans(self, is_orphan: Callable[..., bool]) -> int:
        """Remove folders of jobs that need them no more; return how many.

        Parameters
        ----------
        is_orphan : callable
            Called with job id, the time of the last change in seconds since the epoch, and
            ``is_work``: whether it is about working files.
        """
        removed = 0
        for job_id, changed_at in self._list_jobs():
            if is_orphan(job_id, changed_at, is_work=False):
                self.remove(job_id)
                removed += 1
        for job_id, changed_at in _list_folders(self._root / _WORK):
            if is_orphan(job_id, changed_at, is_work=True):
                self.clear_work(job_id)
                removed += 1
        return removed

    def _list_jobs(self) -> list[tuple[str, float]]:
        """Return the jobs that have results, and when those were last changed."""
        if self._shared is None:
            return _list_folders(self._root / _OUTBOX)
        changed: dict[str, float] = {}
        for key, stored_at, _size in self._shared.list(_OUTBOX):
            job_id = _job_of(key.split("/")[1])
            changed[job_id] = max(changed.get(job_id, 0.0), stored_at.timestamp())
        return sorted(changed.items())


def _safe(job_id: str) -> str:
    """Return the folder name of a job: one to one, and without the colons some systems dislike."""
    if not _JOB_ID.fullmatch(job_id):
        raise StateError(f"wanted a job id of letters, digits and . : _ -, found {job_id!r}")
    return job_id.replace(":", "@")


def _job_of(folder_name: str) -> str:
    return folder_name.replace("@", ":")


def _list_folders(folder: Path) -> list[tuple[str, float]]:
    found = []
    for each in sorted(folder.iterdir()):
        with suppress(FileNotFoundError):  # another process removes it
            found.append((_job_of(each.name), each.stat().st_mtime))
    return found


def _remove_tree(folder: Path) -> None:
    # Another process may be removing it too.
    while folder.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
