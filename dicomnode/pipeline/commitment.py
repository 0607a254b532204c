"""Storage commitment for results: asking, and asking again.

What an answer brings about is in `commitment_answers`.
"""

from __future__ import annotations

from collections.abc import Mapping

from dicomnode.config import Destination, DimseDestination
from dicomnode.database import Database
from dicomnode.database.delivery_rows import (
    answer_commitment,
    get_commitment,
    open_commitment,
    settle_delivery,
)
from dicomnode.database.job_rows import get_job
from dicomnode.engine import JobQueue
from dicomnode.errors import ConfigError, SendError, StateError
from dicomnode.log import get_logger
from dicomnode.model.commitment import CommitmentReport
from dicomnode.pipeline.commitment_answers import go_on, take_report
from dicomnode.pipeline.delivery import Delivery
from dicomnode.pipeline.enqueue import enqueue_commitment_check
from dicomnode.send.commitment_scu import request_commitment
from dicomnode.standard.ae import AEAddress
from dicomnode.standard.uids import derive_uid

_LINGER_SECONDS = 2.0
"""Many peers report at once, over the association of the request."""

_log = get_logger("commitment")


def commitment_transaction_uid(job_id: str, destination: str, attempt: int) -> str:
    """Return the transaction UID of a request: a repeat of the step makes the same request."""
    return derive_uid("commitment", job_id, destination, str(attempt))


class Commitments:
    """Asks destinations for storage commitment.

    Parameters
    ----------
    database : Database
    jobs : JobQueue
    delivery : Delivery
    destinations : mapping of str to Destination
    """

    def __init__(
        self,
        database: Database,
        jobs: JobQueue,
        delivery: Delivery,
        destinations: Mapping[str, Destination],
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._delivery = delivery
        self._destinations = destinations

    def ask(self, job_id: str, name: str, attempt: int) -> str:
        """Ask for commitment to all that a destination has taken of a job.

        Returns
        -------
        str
            ``asked``, ``committed``, ``again`` or ``parked``.
        """
        with self._database.begin() as transaction:
            job = get_job(transaction, job_id)
        if job is None:
            raise StateError(f"job {job_id} is not recorded")
        destination = self._delivery.resolve(job, name)
        if not isinstance(destination, DimseDestination):
            return self._park(job_id, name, attempt)
        parcels = self._delivery.taken_parcels(job, name, destination)
        uid = commitment_transaction_uid(job_id, name, attempt)
        with self._database.begin() as transaction:
            # Before the request: its answer may be faster than we are.
            open_commitment(
                transaction,
                uid,
                job_id=job_id,
                destination=name,
                attempt=attempt,
                sop_instance_uids=[each.sop_instance_uid for each in parcels],
            )
            enqueue_commitment_check(
                self._jobs, transaction, uid, delay_seconds=destination.commitment_seconds
            )
        try:
            request_commitment(
                uid,
                [(each.sop_class_uid, each.sop_instance_uid) for each in parcels],
                to=AEAddress(destination.ae_title, destination.host, destination.port),
                calling_ae_title=self._delivery.calling_ae_title(job, destination),
                timeout_seconds=destination.timeout_seconds,
                linger_seconds=_LINGER_SECONDS,
                on_report=self._take,
                tls=destination.tls,
            )
        except ConfigError as error:
            # Certificates may be in the middle of being renewed.
            return self._end(uid, "failed", str(error), is_final=False)
        except SendError as error:
            return self._end(uid, "failed", str(error), is_final=not error.retryable)
        with self._database.begin() as transaction:
            row = get_commitment(transaction, uid)
        return "asked" if row is None else row.state

    def check(self, transaction_uid: str) -> str:
        """Ask again if there was no answer in time; return how the request stands."""
        return self._end(transaction_uid, "expired", "no answer in time", is_final=False)

    def _park(self, job_id: str, name: str, attempt: int) -> str:
        """Leave it to an operator: the configuration is another than when it was delivered."""
        words = f"storage commitment: no destination {name!r} is configured for this job"
        with self._database.begin() as transaction:
            settle_delivery(
                transaction,
                job_id,
                name,
                state="parked",
                attempt=attempt,
                words=words,
                from_settled=True,
            )
        _log.warning("commitment_not_asked", job=job_id, destination=name)
        return "parked"

    def _take(self, report: CommitmentReport) -> None:
        take_report(self._database, self._jobs, self._destinations, report)

    def _end(self, transaction_uid: str, state: str, words: str, *, is_final: bool) -> str:
        with self._database.begin() as transaction:
            row = get_commitment(transaction, transaction_uid)
            if row is None:
                raise StateError(f"commitment {transaction_uid} is not recorded")
            if not answer_commitment(transaction, transaction_uid, state=state, missing={}):
                return row.state
            go_on(
                transaction,
                self._jobs,
                self._destinations,
                row,
                f"storage commitment: {words}",
                is_final=is_final,
            )
        _log.info("commitment", job=row.job_id, destination=row.destination, state=state)
        return state
