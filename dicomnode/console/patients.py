"""Whose images a series holds: read from a stored instance when it is shown, never kept."""

from __future__ import annotations

from pydicom import dcmread

from dicomnode.console.audit_message import Patient
from dicomnode.database import Database
from dicomnode.database.series_rows import list_instances
from dicomnode.errors import StateError
from dicomnode.spool.instances import InstanceStore

_SHOWN_LENGTH = 200


class Patients:
    """Reads patients' names and IDs.

    Parameters
    ----------
    database : Database
    store : InstanceStore
    """

    def __init__(self, database: Database, store: InstanceStore) -> None:
        self._database = database
        self._store = store

    def read(self, pipeline: str, series_instance_uid: str) -> Patient | None:
        """Return whose images they are; None if none is stored any more, or can be read."""
        with self._database.begin() as transaction:
            refs = list_instances(transaction, pipeline, series_instance_uid)
        for ref in refs[:3]:
            try:
                with self._store.path(ref.key).open("rb") as file:
                    ds = dcmread(
                        file,
                        stop_before_pixels=True,
                        specific_tags=["SpecificCharacterSet", "PatientName", "PatientID"],
                    )
                return Patient(
                    id=_plain(ds.get("PatientID")),
                    name=_plain(ds.get("PatientName")).replace("^", " "),
                )
            except (OSError, StateError):
                continue  # pruned meanwhile
            except Exception:  # noqa: BLE001, S112 - pydicom raises nearly anything on odd bytes
                continue
        return None


def _plain(value: object) -> str:
    text = "" if value is None else str(value)
    return "".join(each if each.isprintable() else " " for each in text)[:_SHOWN_LENGTH].strip()
