"""Records what is answered with Success and not kept, so that it can be asked afterwards."""

from __future__ import annotations

from datetime import UTC, datetime

from dicomnode.database import Database
from dicomnode.database.note_rows import add_note
from dicomnode.standard.uids import is_valid_uid


class IgnoredInstances:
    """Remembers instances of classes that the node does not store.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(
        self, pipeline: str, *, sop_class_uid: str, sop_instance_uid: str, calling_ae_title: str
    ) -> None:
        """Record one; what has no UID can be told from nothing and is only counted."""
        if not is_valid_uid(sop_class_uid) or not is_valid_uid(sop_instance_uid):
            return
        with self._database.begin() as transaction:
            add_note(
                transaction,
                pipeline,
                kind="ignored",
                sop_class_uid=sop_class_uid,
                sop_instance_uid=sop_instance_uid,
                digest=None,
                calling_ae_title=calling_ae_title,
                at=datetime.now(UTC),
            )
