"""What became of one instance that was to be delivered.  A value; nothing is sent here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOutcome:
    """The outcome for one instance.

    Attributes
    ----------
    sop_instance_uid : str
    path : Path
        The file that was to be delivered.
    status : int or None
        C-STORE status (PS3.4 B.2.3); None where none was answered, as for a folder.
    words : str
        The outcome in the standard's words.
    accepted : bool
        The destination has the instance.
    transient : bool
        It has not, and a later attempt can succeed.
    """

    sop_instance_uid: str
    path: Path
    status: int | None
    words: str
    accepted: bool
    transient: bool
