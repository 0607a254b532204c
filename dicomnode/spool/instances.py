"""Received instances: where they lie, how they are written, how they are found again.

Knows nothing of associations or the database.  May be called by several threads and processes at
the same time.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from dicomnode.errors import InstanceUnreadable, SpoolFull, StorageUnavailable
from dicomnode.log import get_logger
from dicomnode.model.instance import InstanceRef
from dicomnode.spool.digest import Digest
from dicomnode.spool.durable import make_folder_durably, remove_leftovers
from dicomnode.spool.folders import OpenFolders
from dicomnode.spool.incoming import Incoming
from dicomnode.spool.keys import checked_path
from dicomnode.spool.part10 import Identity, encode_header, read_file_meta
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.shared import Copies, Shared
from dicomnode.spool.stored import DIGEST_IN_NAME, is_there, make_durable_again, read_ref
from dicomnode.spool.turns import Turns
from dicomnode.standard.uids import is_valid_uid

_FOLDER: Final = "instances"
_INCOMING: Final = "incoming"

_log = get_logger(__name__)


class InstanceStore:
    """The instances below one folder, as ``instances/<pipeline>/<series>/<sop>.<digest[:16]>.dcm``.

    The digest in the name makes a repeated C-STORE a no-op, and keeps different objects of one SOP
    Instance UID apart.

    Parameters
    ----------
    root : Path
        The spool, made where it is absent.
    reserve_bytes : int
        Free space that storing must leave.
    shared : Shared or None
        Where instances lie for all processes; what is on the disk then are copies.

    Raises
    ------
    OSError
        If the folder cannot be made.
    """

    def __init__(self, root: Path, *, reserve_bytes: int, shared: Shared | None = None) -> None:
        self._root = root.resolve()
        self._shared = shared
        self._copies = None if shared is None else Copies(shared, self._root, _FOLDER)
        self._folder = self._root / _FOLDER
        self._incoming = str(self._root / _INCOMING)
        self._reserve_bytes = reserve_bytes
        self._folders = OpenFolders()
        self._turns = Turns()
        make_folder_durably(self._folder)
        self._folders.open(self._incoming)

    def free_bytes(self) -> int:
        """Return the space that may still be filled; below zero when the reserve is touched.

        Raises
        ------
        SpoolFull
            If the file system does not answer.
        """
        try:
            status = os.statvfs(self._folder)
        except OSError as error:
            raise SpoolFull(f"the spool cannot be used: {error.strerror}") from error
        return status.f_bavail * status.f_frsize - self._reserve_bytes

    def store(
        self,
        *,
        pipeline: str,
        sop_class_uid: str,
        sop_instance_uid: str,
        study_instance_uid: str,
        series_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae_title: str,
        data_set: bytes,
    ) -> InstanceRef:
        """Store an encoded data set as a DICOM file (PS3.10 7); on return it is durable.

        Parameters
        ----------
        pipeline, sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid : str
            The pipeline is part of the key, the rest is as in the data set.
        transfer_syntax_uid, calling_ae_title : str
            The encoding, and what is kept as Source Application Entity Title.
        data_set : bytes

        Returns
        -------
        InstanceRef
            The same content gives the same key and is not written again.

        Raises
        ------
        InstanceUnreadable
            If a UID is none; it is checked before it becomes a path (PS3.5 9.1).
        SpoolFull
            If the reserve would be touched, or the file system refuses.
        """
        for name, uid in (
            ("SOP Class UID", sop_class_uid),
            ("SOP Instance UID", sop_instance_uid),
            ("Study Instance UID", study_instance_uid),
            ("Series Instance UID", series_instance_uid),
            ("Transfer Syntax UID", transfer_syntax_uid),
        ):
            if not is_valid_uid(uid):
                raise InstanceUnreadable(f"the {name} is none (PS3.5 9.1)")
        incoming = self.open(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            transfer_syntax_uid=transfer_syntax_uid,
            calling_ae_title=calling_ae_title,
        )
        incoming.write(data_set)
        identity = Identity(
            sop_class_uid=sop_class_uid,
            sop_instance_uid=sop_instance_uid,
            study_instance_uid=study_instance_uid,
            series_instance_uid=series_instance_uid,
        )
        return self.keep(
            incoming, identity, pipeline=pipeline, transfer_syntax_uid=transfer_syntax_uid
        )

    def open(
        self,
        *,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax_uid: str,
        calling_ae_title: str,
    ) -> Incoming:
        """Begin to store an instance whose data set is still on its way.

        Parameters
        ----------
        sop_class_uid, sop_instance_uid, transfer_syntax_uid, calling_ae_title : str
            As in `store`; the UIDs are those of the command.  If one is none, what is written can
            be looked at and never be kept.

        Returns
        -------
        Incoming
            To be written to, and then given to `keep` or discarded.

        Raises
        ------
        SpoolFull
            If the file system refuses.
        """
        header = b""
        if is_valid_uid(sop_class_uid) and is_valid_uid(sop_instance_uid):
            header = encode_header(
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                transfer_syntax_uid=transfer_syntax_uid,
                source_ae_title=calling_ae_title,
            )
        return Incoming(
            self._folders,
            self._incoming,
            header=header,
            transfer_syntax_uid=transfer_syntax_uid,
            free_bytes=self.free_bytes,
        )

    def keep(
        self, incoming: Incoming, identity: Identity, *, pipeline: str, transfer_syntax_uid: str
    ) -> InstanceRef:
        """Give what has come in its place; on return it is durable.

        Parameters
        ----------
        incoming : Incoming
            Opened with the SOP Class and Instance UID of `identity`; it is used up in any case.
        identity : Identity
            All four UIDs checked (PS3.5 9.1): they become a path.
        pipeline, transfer_syntax_uid : str
            As in `store`.

        Returns
        -------
        InstanceRef
            The same content gives the same key and is not written again.

        Raises
        ------
        SpoolFull
            If the reserve would be touched, or the file system refuses.
        """
        digest, size_bytes = incoming.digest, incoming.size_bytes
        name = f"{identity.sop_instance_uid}.{digest[:DIGEST_IN_NAME]}.dcm"
        below = f"{_FOLDER}/{pipeline}/{identity.series_instance_uid}"
        key = f"{below}/{name}"
        folder = f"{self._root}/{below}"
        kept: str | None = None
        try:
            if incoming.failure is not None:
                raise incoming.failure
            self._turns.begin(key)
            try:
                if self._is_known(key):
                    kept = make_durable_again(Path(folder, name), size_bytes)
                incoming.is_repeat = kept is not None
                if kept is None:
                    incoming.settle(folder, name)
                    if self._copies is not None:
                        self._copies.share(key)
            finally:
                self._turns.end(key)
        except OSError as error:
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error
        except StorageUnavailable as error:
            raise SpoolFull(str(error)) from error
        finally:
            incoming.discard()
        return InstanceRef(
            sop_class_uid=identity.sop_class_uid,
            sop_instance_uid=identity.sop_instance_uid,
            study_instance_uid=identity.study_instance_uid,
            series_instance_uid=identity.series_instance_uid,
            transfer_syntax_uid=kept or transfer_syntax_uid,
            digest=digest,
            size_bytes=size_bytes,
            key=key,
        )

    def _is_known(self, key: str) -> bool:
        """Whether there is a file under this key, of which a copy is had if need be."""
        if self._copies is not None:
            return self._copies.bring(key, anew=True)
        return is_there(f"{self._root}/{key}")

    def source_ae_title(self, ref: InstanceRef) -> str:
        """Return who sent a stored instance, as its file meta information says.

        Raises
        ------
        InstanceUnreadable
            If the file is none of ours.
        OSError
            If it cannot be read.
        """
        with self.path(ref.key).open("rb") as file:
            return read_file_meta(file).source_ae_title

    def discard(self, ref: InstanceRef) -> None:
        """Remove the file of an instance that is recorded nowhere.

        Raises
        ------
        SpoolFull
            If the file system refuses.
        """
        try:
            self.remove([ref.key])
        except OSError as error:
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error

    def is_whole(self, ref: InstanceRef) -> bool:
        """Whether the file of an instance is there with the content that `ref` tells.

        Read to the end, so this takes as long as the disk needs for it.

        Raises
        ------
        StorageUnavailable
            If it is not on a disk and cannot be fetched.
        OSError
            If the file is there and cannot be read.
        """
        if not self._is_known(ref.key):
            return False
        digest = Digest()
        try:
            with self.path(ref.key).open("rb") as file:
                read_file_meta(file)
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except (FileNotFoundError, InstanceUnreadable):
            return False
        return digest.hexdigest() == ref.digest

    def path(self, key: str) -> Path:
        """Return where the file of `key` lies; what is not on this disk is fetched.

        Raises
        ------
        StateError
            If `key` names nothing below the folder of instances.
        StorageUnavailable
            If it is not on a disk and cannot be fetched.
        """
        path = checked_path(self._root, key, below=_FOLDER)
        if self._copies is not None:
            self._copies.bring(key)
        return path

    def bring(self, keys: Iterable[str]) -> None:
        """Have the files of instances on this disk, or raise StorageUnavailable."""
        for key in keys if self._copies is not None else ():
            self.path(key)

    def scan(
        self, *, is_known: Callable[[str], bool] = lambda _key: False
    ) -> Iterator[tuple[str, InstanceRef]]:
        """Go through all stored instances at start-up, so that the database can be reconciled.

        Leftovers of dead writers are removed.  A file that is not what its name says, or no DICOM
        file, goes to the quarantine.

        Parameters
        ----------
        is_known : callable
            Told a key, whether it needs no reading: its row is there.

        Yields
        ------
        str
            The pipeline.
        InstanceRef
            In the order in which they were stored: of two with one SOP Instance UID the first
            was acknowledged as the one that stays, and the second perhaps not at all.
        """
        removed = remove_leftovers(self._folder) + remove_leftovers(Path(self._incoming))
        if removed:
            _log.info("leftovers_removed", count=removed)
        quarantine = Quarantine(self._root, shared=self._shared)
        for _, key in sorted(self._list(is_known)):
            path = self.path(key)
            try:
                yield path.parts[-3], read_ref(path, key)
            except FileNotFoundError:
                continue  # not kept after all, by a receiver that lives
            except InstanceUnreadable as error:
                where = quarantine.take(path, reason=str(error), facts={"key": key})
                self.remove([key])
                _log.error("stored_instance_unreadable", key=key, quarantine=where)

    def _list(self, is_known: Callable[[str], bool]) -> Iterator[tuple[float, str]]:
        """Yield time of storing and key of what is not known."""
        if self._shared is not None:
            for key, stored_at, _size in self._shared.list(_FOLDER):
                if not is_known(key):
                    yield stored_at.timestamp(), key
            return
        for path in self._folder.glob("*/*/*"):
            key = path.relative_to(self._root).as_posix()
            if path.name.startswith(".") or is_known(key):
                continue
            with contextlib.suppress(FileNotFoundError):  # as above
                status = path.stat()
                # Renaming a file into its place changes this time, writing it before does not.
                if stat.S_ISREG(status.st_mode):
                    yield status.st_ctime_ns / 1e9, key

    def has(self, key: str) -> bool:
        """Whether the file of a key that this store gave is there."""
        return is_there(f"{self._root}/{key}") if self._shared is None else self._shared.has(key)

    def remove(self, keys: Iterable[str]) -> None:
        """Remove stored instances, and folders that become empty; what is gone already is no fault.

        Raises
        ------
        StateError
            If a key names nothing below the folder of instances.
        OSError
            If a file cannot be removed.
        """
        paths = {key: checked_path(self._root, key, below=_FOLDER) for key in keys}
        if self._shared is not None:
            self._shared.remove(paths)
        folders = set()
        for path in paths.values():
            path.unlink(missing_ok=True)
            folders.add(path.parent)
        for folder in folders:
            # Not empty: something came since, or lies there that is not ours to remove.
            with contextlib.suppress(OSError):
                folder.rmdir()
