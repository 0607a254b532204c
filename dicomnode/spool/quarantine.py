"""Objects that were refused or found unreadable, each with the reason.  Nobody else reads them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dicomnode.errors import StateError
from dicomnode.spool.durable import make_folder_durably, move_durably, write_durably
from dicomnode.spool.shared import Copies, Shared

_FOLDER: Final = "quarantine"
_ID: Final = re.compile(r"[0-9a-f]{32}")
_FACTS: Final = frozenset(
    {
        "association_id",
        "called_ae_title",
        "calling_ae_title",
        "host",
        "key",
        "pipeline",
        "series_instance_uid",
        "sop_class_uid",
        "sop_instance_uid",
        "study_instance_uid",
        "transfer_syntax_uid",
    }
)
_FACT_LENGTH: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class QuarantinedItem:
    """One object in the quarantine.

    Attributes
    ----------
    id : str
        32 hexadecimal characters, the same for the same content.
    reason : str
        Why it is here, in a sentence.
    facts : dict of str
        UIDs, AE titles and addresses; no attribute of a patient.
    first_seen, last_seen : str
        ISO 8601, UTC.
    count : int
        How often the same content came.
    size_bytes : int
        Of the whole object.
    kept_bytes : int
        How much of it lies here; less than `size_bytes` where a limit was reached.
    """

    id: str
    reason: str
    facts: dict[str, str]
    first_seen: str
    last_seen: str
    count: int
    size_bytes: int
    kept_bytes: int


class Quarantine:
    """The folder ``quarantine/`` of a spool: each object as a file, and a JSON file beside it.

    Parameters
    ----------
    root : Path
        The spool.
    max_item_bytes : int
        More of a refused object is not kept.
    max_total_bytes : int
        When refused objects fill this much, the next ones leave their reason only: a peer must
        not be able to fill the disk with what nobody wants.  What was once acknowledged is always
        kept whole.
    shared : Shared or None
        Where objects lie for all processes; those in the folder then are copies.
    """

    def __init__(
        self,
        root: Path,
        *,
        max_item_bytes: int = 64 * 1024**2,
        max_total_bytes: int = 2 * 1024**3,
        shared: Shared | None = None,
    ) -> None:
        self._shared = shared
        self._copies = None if shared is None else Copies(shared, root.resolve(), _FOLDER)
        self._folder = root.resolve() / _FOLDER
        self._max_item_bytes = max_item_bytes
        self._max_total_bytes = max_total_bytes
        self._guard = threading.Lock()
        make_folder_durably(self._folder)
        self._total_bytes = sum(each.stat().st_size for each in self._folder.glob("*.dcm"))

    def keep(self, content: bytes | memoryview, *, reason: str, facts: Mapping[str, str]) -> str:
        """Put a refused object aside.

        Parameters
        ----------
        content : bytes or memoryview
            As it came.
        reason : str
            Why, in a sentence without patient data.
        facts : mapping of str
            Of the names that `QuarantinedItem` knows: UIDs, AE titles, addresses.

        Returns
        -------
        str
            Its id.  The same content again has the same id and counts up.

        Raises
        ------
        ValueError
            If a fact is none of those that may be kept.
        OSError
            If it cannot be written.
        """
        identifier = hashlib.sha256(content).hexdigest()[:32]
        with self._guard:
            path = self._folder / f"{identifier}.dcm"
            self._bring(path)
            kept = path.stat().st_size if path.exists() else -1
            if kept < 0:
                kept = min(len(content), self._max_item_bytes)
                if self._total_bytes + kept > self._max_total_bytes:
                    kept = 0
                if kept:
                    write_durably(path, (memoryview(content)[:kept],))
                    self._share(path)
                    self._total_bytes += kept
            self._record(identifier, reason, facts, size_bytes=len(content), kept_bytes=kept)
        return identifier

    def take(self, path: Path, *, reason: str, facts: Mapping[str, str]) -> str:
        """Move a file of the spool here, whole.

        Parameters
        ----------
        path : Path
            A file in the same file system.
        reason, facts
            As in `keep`.

        Returns
        -------
        str
            Its id.

        Raises
        ------
        ValueError
            If a fact is none of those that may be kept.
        OSError
            If it cannot be moved.
        """
        with path.open("rb") as file:
            identifier = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        with self._guard:
            size = path.stat().st_size
            # The reason first: a file without one would be a riddle after a crash.
            self._record(identifier, reason, facts, size_bytes=size, kept_bytes=size)
            move_durably(path, self._folder / f"{identifier}.dcm")
            self._share(self._folder / f"{identifier}.dcm")
            self._total_bytes += size
        return identifier

    def list(self) -> tuple[QuarantinedItem, ...]:
        """Return all objects, the latest first."""
        items = [self.get(name.removesuffix(".json")) for name in self._names()]
        return tuple(sorted(items, key=lambda item: (item.last_seen, item.id), reverse=True))

    def count(self) -> int:
        """Return how many objects there are, without reading any.

        Raises
        ------
        StorageUnavailable
            If they lie in a bucket that cannot be asked.
        """
        return len(self._names())

    def _names(self) -> tuple[str, ...]:
        if self._shared is None:
            return tuple(each.name for each in self._folder.glob("*.json"))
        names = (key.rpartition("/")[2] for key, *_ in self._shared.list(_FOLDER))
        return tuple(name for name in names if name.endswith(".json"))

    def get(self, identifier: str) -> QuarantinedItem:
        """Return what is known of one object.

        Raises
        ------
        StateError
            If there is no such object, or its record cannot be read.
        """
        if not _ID.fullmatch(identifier):
            raise StateError(f"wanted 32 hexadecimal characters, found {identifier!r}")
        self._bring(self._record_path(identifier), anew=True)
        try:
            record: dict[str, Any] = json.loads(self._record_path(identifier).read_bytes())
            return QuarantinedItem(**record)
        except FileNotFoundError as error:
            raise StateError(f"nothing in quarantine is called {identifier}") from error
        except (ValueError, TypeError) as error:
            raise StateError(f"the quarantine record {identifier} cannot be read") from error

    def path(self, identifier: str) -> Path:
        """Return where the content of an object lies.

        Raises
        ------
        StateError
            If there is no such object, or nothing of its content was kept.
        """
        self.get(identifier)
        path = self._folder / f"{identifier}.dcm"
        self._bring(path)
        if not path.is_file():
            raise StateError(f"of {identifier} only the reason was kept")
        return path

    def _bring(self, path: Path, *, anew: bool = False) -> None:
        if self._copies is not None:
            self._copies.bring(f"{_FOLDER}/{path.name}", anew=anew)

    def _share(self, path: Path) -> None:
        if self._copies is not None:
            self._copies.share(f"{_FOLDER}/{path.name}")

    def _record_path(self, identifier: str) -> Path:
        return self._folder / f"{identifier}.json"

    def _record(
        self,
        identifier: str,
        reason: str,
        facts: Mapping[str, str],
        *,
        size_bytes: int,
        kept_bytes: int,
    ) -> None:
        unknown = sorted(facts.keys() - _FACTS)
        if unknown:
            raise ValueError(f"no facts that may be kept: {', '.join(unknown)}")
        now = datetime.now(UTC).isoformat(timespec="microseconds")
        first, count = now, 1
        self._bring(self._record_path(identifier), anew=True)
        if self._record_path(identifier).exists():
            earlier = self.get(identifier)
            first, count = earlier.first_seen, earlier.count + 1
        item = QuarantinedItem(
            id=identifier,
            reason=reason,
            facts={name: value[:_FACT_LENGTH] for name, value in facts.items()},
            first_seen=first,
            last_seen=now,
            count=count,
            size_bytes=size_bytes,
            kept_bytes=kept_bytes,
        )
        text = json.dumps(asdict(item), indent=2) + os.linesep
        write_durably(self._record_path(identifier), text.encode("ascii"))
        self._share(self._record_path(identifier))
