"""One received SOP instance, as a reference: what it is and where its bytes lie."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRef:
    """A stored instance.  Holds identifiers only, nothing of a patient.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid, study_instance_uid, series_instance_uid : str
        As in the data set (PS3.3 C.12.1, C.7.2.1, C.7.3.1).
    transfer_syntax_uid : str
        The encoding of the stored data set (PS3.5 10).
    digest : str
        Hexadecimal digest of the encoded data set, without file meta information.
    size_bytes : int
        Length of the encoded data set.
    key : str
        Where the spool keeps the file, relative to its root.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    digest: str
    size_bytes: int
    key: str
