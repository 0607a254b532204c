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
from dicomnode.spool.instances import checked_path

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
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
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
        """
        if not _NAME.fullmatch(name):
            raise StateError(f"wanted a plain file name, found {name!r}")
        key = f"{_OUTBOX}/{_safe(job_id)}/{name}"
        write_durably(self.path(key), content)
        return key

    def path(self, key: str) -> Path:
        """Return where the result of `key` lies.

        Raises
        ------
        StateError
            If `key` names nothing below the outbox.
        """
        return checked_path(self._root, key, below=_OUTBOX)

    def remove(self, job_id: str) -> None:
        """Remove the results of a job, all of them.

        Raises
        ------
        StateError
            If the job id cannot be part of a path.
        OSError
            If they cannot be removed.
        """
        _remove_tree(self._root / _OUTBOX / _safe(job_id))

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
            Called with job id, folder, and ``is_work``: whether it holds working files.
        """
        removed = 0
        for name in (_OUTBOX, _WORK):
            for folder in sorted((self._root / name).iterdir()):
                job_id = folder.name.replace("@", ":")
                if is_orphan(job_id, folder, is_work=name == _WORK):
                    _remove_tree(folder)
                    removed += 1
        return removed


def _safe(job_id: str) -> str:
    """Return the folder name of a job: one to one, and without the colons some systems dislike."""
    if not _JOB_ID.fullmatch(job_id):
        raise StateError(f"wanted a job id of letters, digits and . : _ -, found {job_id!r}")
    return job_id.replace(":", "@")


def _remove_tree(folder: Path) -> None:
    # Another process may be removing it too.
    while folder.exists():
        with suppress(FileNotFoundError):
            shutil.rmtree(folder)
