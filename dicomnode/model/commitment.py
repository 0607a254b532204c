"""What a peer says of instances it was asked to commit itself to (PS3.4 J.3.3).  No network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from dicomnode.standard.status import describe_store_status


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentReport:
    """The content of an N-EVENT-REPORT of the Storage Commitment Push Model.

    Attributes
    ----------
    transaction_uid : str
        Of the request that it answers.
    committed : frozenset of str
        SOP Instance UIDs that the peer keeps.
    failed : mapping of str to str
        SOP Instance UIDs that it does not keep, and why, in words.
    """

    transaction_uid: str
    committed: frozenset[str]
    failed: Mapping[str, str]

    @classmethod
    def from_data_set(cls, data_set: Any) -> Self:
        """Read the event information.

        Raises
        ------
        ValueError
            If it names no transaction.
        """
        transaction_uid = str(data_set.get("TransactionUID") or "")
        if not transaction_uid:
            raise ValueError("wanted a Transaction UID, found none")
        committed = data_set.get("ReferencedSOPSequence") or ()
        failed = data_set.get("FailedSOPSequence") or ()
        return cls(
            transaction_uid=transaction_uid,
            committed=frozenset(str(each.ReferencedSOPInstanceUID) for each in committed),
            failed={
                str(each.ReferencedSOPInstanceUID): _reason(each.get("FailureReason"))
                for each in failed
            },
        )


def _reason(code: int | None) -> str:
    return "no reason given" if code is None else describe_store_status(int(code))
