"""One data set on its way into the spool: written as it comes, never whole in memory.

Where it goes in the end and whether it is wanted, `instances` and its callers know.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from dicomnode.errors import SpoolFull
from dicomnode.spool.digest import Digest
from dicomnode.spool.durable import write_all
from dicomnode.spool.folders import OpenFolders, Part
from dicomnode.spool.identify import identify_head
from dicomnode.spool.part10 import Identity, read_identity, read_identity_of

_HEAD_BYTES: Final = 1 << 14
"""What identifies a data set stands within them, unless there is much before it."""

_ROOM_ASKED_EVERY: Final = 64 * 1024**2


class Incoming:
    """A file in the making that a data set is written into, chunk by chunk.

    Parameters
    ----------
    folders : OpenFolders
    folder : str
        For files in the making, on the file system of their final place.
    header : bytes
        What stands before the data set; empty if it cannot become a file anyway.
    transfer_syntax_uid : str
        The encoding of the data set.
    free_bytes : callable
        Says how much may still be written.

    Raises
    ------
    SpoolFull
        If there is no room, or the file system refuses.
    """

    def __init__(
        self,
        folders: OpenFolders,
        folder: str,
        *,
        header: bytes,
        transfer_syntax_uid: str,
        free_bytes: Callable[[], int],
    ) -> None:
        self._header_bytes = len(header)
        # Goes with the first bytes of the data set: a page of the file is then filled at once.
        self._header = header
        self._syntax = transfer_syntax_uid
        self._free_bytes = free_bytes
        self._room = 0
        self._head = bytearray()
        self._digest = Digest()
        self._folders = folders
        self._part: Part | None = None
        self._failure: SpoolFull | None = None
        self.size_bytes = 0
        self.is_repeat = False
        """Whether the same content was there already, when it is kept."""
        try:
            self._part = folders.create_part(folder)
        except OSError as error:
            raise SpoolFull(f"the spool cannot be written: {error.strerror}") from error

    @property
    def digest(self) -> str:
        """Hexadecimal digest of what was written."""
        return self._digest.hexdigest()

    @property
    def failure(self) -> SpoolFull | None:
        """Why it could not be written to its end, if so."""
        return self._failure

    def write(self, chunk: bytes | memoryview) -> None:
        """Append to the data set.

        A failure is kept in `failure`; what comes after it is only counted, so that the rest of a
        message can be read without further questions.
        """
        length = len(chunk)
        self.size_bytes += length
        if len(self._head) < _HEAD_BYTES:
            self._head += chunk[: _HEAD_BYTES - len(self._head)]
        if self._part is None:
            return
        try:
            if self._room < length:
                self._ask_for_room(length)
            self._write(self._part.descriptor, chunk)
        except OSError as error:
            self._fail(f"the spool cannot be written: {error.strerror}")
        except SpoolFull as error:
            self._fail(str(error))
        else:
            self._room -= length
            self._digest.update(chunk)

    def _write(self, descriptor: int, chunk: bytes | memoryview) -> None:
        header, self._header = self._header, b""
        if not header:
            write_all(descriptor, chunk)
            return
        written = os.writev(descriptor, (header, chunk))
        if written < len(header) + len(chunk):
            write_all(descriptor, (header + chunk)[written:])

    def identity(self) -> Identity:
        """Return the identifying UIDs of the data set written.

        Raises
        ------
        InstanceUnreadable
            If it cannot be parsed that far or lacks one of them.
        SpoolFull
            If they are beyond what was written.
        """
        found = identify_head(self._head, self._syntax)
        if found is not None:
            return found
        if self.size_bytes <= len(self._head):
            return read_identity(bytes(self._head), self._syntax)
        if self._part is None:
            raise self._failure or SpoolFull("the instance was not kept")
        with os.fdopen(os.dup(self._part.descriptor), "rb") as file:
            file.seek(self._header_bytes)
            return read_identity_of(file, self._syntax)

    @contextmanager
    def content(self) -> Iterator[bytes | memoryview | None]:
        """Give the data set to a reader; None if it is not here whole, or settled already."""
        if self._failure is not None or self._part is None:
            yield None
        elif self.size_bytes <= len(self._head):
            yield bytes(self._head)
        else:
            with (
                mmap.mmap(self._part.descriptor, 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as whole,
                whole[self._header_bytes :] as data_set,
            ):
                yield data_set

    def settle(self, folder: str, name: str) -> None:
        """Sync the file and give it its final name; on return it survives a power cut.

        Raises
        ------
        OSError
            If it cannot be synced or renamed.
        SpoolFull
            If it was not written whole.
        """
        if self._part is None:
            raise self._failure or SpoolFull("the instance was not kept")
        self._folders.settle(self._part, folder, name)
        self.discard()

    def discard(self) -> None:
        """Give up what was not settled; may be called again, and after `settle`."""
        part, self._part = self._part, None
        if part is not None:
            part.close()

    def _ask_for_room(self, wanted: int) -> None:
        free = self._free_bytes()
        if free < wanted:
            raise SpoolFull(f"storing {wanted} bytes would touch the reserve of free space")
        # Not for each chunk: asking costs as much as writing it.
        self._room = min(free, max(wanted, _ROOM_ASKED_EVERY))

    def _fail(self, words: str) -> None:
        self._failure = SpoolFull(words)
        self.discard()
