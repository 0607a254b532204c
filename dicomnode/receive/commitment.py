"""The Storage Commitment SCP, push model (PS3.4 J): asked, checked on disk, reported.

A request is a row before it is answered, so it survives a restart.  Of the processes that share a
database any may report it: whoever works on a row moves its due time on first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association

from dicomnode.config import CommitmentConfig
from dicomnode.database import Database
from dicomnode.database.commitment_rows import (
    CommitmentRow,
    Reference,
    add_commitment,
    claim_due,
    get_commitment,
    next_due,
    set_commitment,
)
from dicomnode.database.note_rows import find_notes
from dicomnode.database.series_rows import find_instances
from dicomnode.errors import AssociationUnavailable, NodeError, SendError
from dicomnode.log import get_logger
from dicomnode.metrics import COMMITMENTS
from dicomnode.model.instance import InstanceRef
from dicomnode.receive.commitment_report import call_back, report_on
from dicomnode.receive.store import Caller
from dicomnode.spool.instances import InstanceStore
from dicomnode.standard.sop_classes import STORAGE_COMMITMENT_PUSH_INSTANCE
from dicomnode.standard.status import ActionStatus, FailureReason
from dicomnode.standard.uids import is_valid_uid

_REQUEST: Final = 1
_COMMITTED, _FAILURES_EXIST = 1, 2

MOST_INSTANCES: Final = 20_000
"""Of one request."""
_LONGEST_WAIT_SECONDS: Final = 30.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Refused(Exception):
    status: ActionStatus
    words: str


class Commitments:
    """Takes requests and reports on them from a thread of its own.

    Parameters
    ----------
    database : Database
    store : InstanceStore
    config : CommitmentConfig
    claim_seconds : float
        How long a request stays with the process that works on it; after that another one, or
        this one after a restart, takes it up.
    flush : callable
        Returns once the rows of all that was acknowledged are there: peers ask right after their
        last C-STORE.
    settle_seconds : float
        How long after a request an instance may still be on its way into the database: what is
        not there at first is looked for again after that.
    clock : callable
        Aware datetimes.
    """

    def __init__(
        self,
        database: Database,
        store: InstanceStore,
        config: CommitmentConfig,
        *,
        claim_seconds: float = 60.0,
        flush: Callable[[], None] = lambda: None,
        settle_seconds: float = 2.0,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._store = store
        self._config = config
        self._claim = timedelta(seconds=claim_seconds)
        self._flush = flush
        self._settle_seconds = settle_seconds
        self._clock = clock
        self._peers = {each.ae_title: each for each in config.peers}
        self._asked: deque[tuple[CommitmentRow, Association]] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)

    def start(self) -> None:
        """Report from now on, also what was asked before the last stop."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no further report; what is left stays for the next start."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()
        self._thread.join(self._config.timeout_seconds)

    # -- being asked

    def ask(self, event: evt.Event, caller: Caller) -> ActionStatus:
        """Take an N-ACTION-RQ and return its status; it raises nothing."""
        try:
            row = self._record(event, caller)
        except _Refused as refusal:
            _log.warning(
                "commitment_refused",
                association_id=caller.association_id,
                status=f"{refusal.status:04X}",
                reason=refusal.words,
            )
            return refusal.status
        except Exception:  # noqa: BLE001 - what it is goes to the log, the peer gets a status
            _log.exception("commitment_failed", association_id=caller.association_id)
            return ActionStatus.PROCESSING_FAILURE
        _log.info(
            "commitment_requested",
            association_id=caller.association_id,
            pipeline=row.pipeline,
            transaction_uid=row.transaction_uid,
            instances=len(row.instances),
        )
        with self._changed:
            self._asked.append((row, event.assoc))
            self._changed.notify_all()
        return ActionStatus.SUCCESS

    def _record(self, event: evt.Event, caller: Caller) -> CommitmentRow:
        transaction_uid, instances = _read_request(event)
        now = self._clock()
        with self._database.begin() as transaction:
            is_taken = add_commitment(
                transaction,
                pipeline=caller.pipeline,
                calling_ae_title=caller.calling_ae_title,
                called_ae_title=caller.called_ae_title,
                transaction_uid=transaction_uid,
                instances=instances,
                due_at=now + self._claim,
                at=now,
            )
            row = get_commitment(
                transaction, caller.pipeline, caller.calling_ae_title, transaction_uid
            )
        if not is_taken or row is None:
            words = "the Transaction UID was used before for other instances"
            raise _Refused(ActionStatus.PROCESSING_FAILURE, words)
        return row

    # -- reporting

    def _run(self) -> None:
        while True:
            assoc: Association | None = None
            row: CommitmentRow | None = None
            with self._changed:
                if self._is_stopping:
                    return
                if self._asked:
                    row, assoc = self._asked.popleft()
            try:
                if row is None:
                    row, wait_seconds = self._take_due()
                    if row is None:
                        with self._changed:
                            if not self._asked and not self._is_stopping:
                                self._changed.wait(wait_seconds)
                        continue
                self._report(row, assoc)
            except Exception:  # noqa: BLE001 - it is due again when the claim ends
                _log.exception("commitment_report_failed")
                with self._changed:
                    self._changed.wait(1.0)  # a database that is away is not asked in a rush

    def _take_due(self) -> tuple[CommitmentRow | None, float]:
        now = self._clock()
        with self._database.begin() as transaction:
            due = next_due(transaction)
            if due is None or due > now:
                seconds = _LONGEST_WAIT_SECONDS if due is None else (due - now).total_seconds()
                return None, min(seconds, _LONGEST_WAIT_SECONDS)
            return claim_due(transaction, now=now, until=now + self._claim), 0.1

    def _report(self, row: CommitmentRow, assoc: Association | None) -> None:
        information = self._check_settled(row)
        failed = len(information.get("FailedSOPSequence", ()))
        kind = _FAILURES_EXIST if failed else _COMMITTED
        log = _log.bind(pipeline=row.pipeline, transaction_uid=row.transaction_uid)
        attempts = row.attempts + 1
        now = self._clock()
        try:
            self._tell(row, assoc, kind, information)
        except SendError as error:
            config = self._config
            is_last = attempts >= config.max_attempts
            pause = config.first_retry_seconds * 2.0 ** (attempts - 1)
            due = now + timedelta(seconds=min(pause, config.longest_retry_seconds))
            self._set(row, "parked" if is_last else "pending", attempts, str(error), due, now)
            COMMITMENTS.labels("parked" if is_last else "again").inc()
            log.warning("commitment_not_reported", attempt=attempts, reason=str(error))
            return
        words = f"{len(row.instances) - failed} committed, {failed} failed"
        self._set(row, "reported", attempts, words, now, now)
        COMMITMENTS.labels("failures" if failed else "committed").inc()
        log.info("commitment_reported", instances=len(row.instances), failed=failed)

    def _set(
        self, row: CommitmentRow, state: Any, attempts: int, words: str, due: datetime, at: datetime
    ) -> None:
        with self._database.begin() as transaction:
            set_commitment(
                transaction,
                row,
                state=state,
                attempts=attempts,
                words=words,
                due_at=due,
                at=at,
            )

    def _tell(
        self, row: CommitmentRow, assoc: Association | None, kind: int, information: Dataset
    ) -> None:
        """Send the N-EVENT-REPORT: to where the peer listens, if that is known.

        Else on the association of the request while it stands.  That is the second choice because
        the peer may be storing on it at the same time.
        """
        peer = self._peers.get(row.calling_ae_title)
        if peer is not None:
            call_back(
                peer,
                calling_ae_title=row.called_ae_title,
                timeout_seconds=self._config.timeout_seconds,
                kind=kind,
                information=information,
            )
        elif assoc is not None and assoc.is_established:
            report_on(assoc, kind=kind, information=information)
        else:
            raise AssociationUnavailable(
                f"the association of the request has ended, and {row.calling_ae_title} is none of "
                "receive.commitment.peers"
            )

    def _check_settled(self, row: CommitmentRow) -> Dataset:
        information = self.check(row)
        missing = FailureReason.NO_SUCH_OBJECT_INSTANCE
        failed = information.get("FailedSOPSequence", ())
        if not any(each.FailureReason == missing for each in failed):
            return information
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopping, self._settle_seconds)
        return self.check(row)

    def check(self, row: CommitmentRow) -> Dataset:
        """Look at each instance on disk and return the event information (PS3.4 J.3.3.1)."""
        uids = [uid for _, uid in row.instances]
        self._flush()
        with self._database.begin() as transaction:
            stored = find_instances(transaction, row.pipeline, uids)
            notes = find_notes(transaction, row.pipeline, uids)
        committed: list[Dataset] = []
        failed: list[Dataset] = []
        for sop_class_uid, uid in row.instances:
            item = Dataset()
            item.ReferencedSOPClassUID = sop_class_uid
            item.ReferencedSOPInstanceUID = uid
            reason = self._fault(sop_class_uid, stored.get(uid), notes.get(uid, frozenset()))
            if reason is None:
                committed.append(item)
            else:
                item.FailureReason = int(reason)
                failed.append(item)
        information = Dataset()
        information.TransactionUID = row.transaction_uid
        if committed:
            information.ReferencedSOPSequence = committed
        if failed:
            information.FailedSOPSequence = failed
        return information

    def _fault(
        self, sop_class_uid: str, ref: InstanceRef | None, notes: frozenset[str]
    ) -> FailureReason | None:
        if ref is None:
            if "ignored" in notes:
                return FailureReason.SOP_CLASS_NOT_SUPPORTED
            return FailureReason.NO_SUCH_OBJECT_INSTANCE
        if ref.sop_class_uid != sop_class_uid:
            return FailureReason.CLASS_INSTANCE_CONFLICT
        if notes & {"kept-first", "refused"}:
            # Somebody sent other content under this UID.  Who asks may mean that one, and would
            # delete the only copy of it.
            return FailureReason.PROCESSING_FAILURE
        return None if self._is_whole(ref) else FailureReason.PROCESSING_FAILURE

    def _is_whole(self, ref: InstanceRef) -> bool:
        try:
            is_whole = self._store.is_whole(ref)
        except (OSError, NodeError) as error:
            _log.error("instance_not_readable", key=ref.key, error=type(error).__name__)
            return False
        if not is_whole:
            _log.error("instance_not_whole", key=ref.key)
        return is_whole


def _read_request(event: evt.Event) -> tuple[str, Sequence[Reference]]:
    """Read an N-ACTION-RQ (PS3.4 J.3.2.1)."""
    command: Any = event.request
    if command.ActionTypeID != _REQUEST:
        words = f"wanted action type {_REQUEST}, found {command.ActionTypeID}"
        raise _Refused(ActionStatus.NO_SUCH_ACTION, words)
    if command.RequestedSOPInstanceUID != STORAGE_COMMITMENT_PUSH_INSTANCE:
        words = "the Requested SOP Instance UID is not the well-known one"
        raise _Refused(ActionStatus.NO_SUCH_SOP_INSTANCE, words)
    try:
        information = event.action_information
        transaction_uid = str(information.TransactionUID)
        instances = [
            (str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.ReferencedSOPSequence
        ]
    except Exception as error:  # the library raises nearly anything on bytes that are not DICOM
        words = f"the action information cannot be understood: {type(error).__name__}"
        raise _Refused(ActionStatus.INVALID_ARGUMENT, words) from error
    uids = [transaction_uid, *(uid for each in instances for uid in each)]
    if not instances or not all(is_valid_uid(uid) for uid in uids):
        words = "wanted a Transaction UID and references that are UIDs (PS3.5 9.1)"
        raise _Refused(ActionStatus.INVALID_ARGUMENT, words)
    if len(instances) > MOST_INSTANCES:
        words = f"{len(instances)} instances in one request, the most is {MOST_INSTANCES}"
        raise _Refused(ActionStatus.RESOURCE_LIMITATION, words)
    return transaction_uid, list(dict.fromkeys(instances))
