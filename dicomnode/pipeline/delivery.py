"""One delivery attempt: which objects are still to go, how they went, what is next."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from dicomnode.config import Destination, DimseDestination
from dicomnode.database import Database
from dicomnode.database.job_rows import (
    JobRow,
    add_seconds,
    already_sent,
    get_job,
    record_sent,
    set_delivery,
)
from dicomnode.errors import ConfigError, SendError, StateError
from dicomnode.log import get_logger
from dicomnode.metrics import DELIVERIES
from dicomnode.pipeline.objects import files_for
from dicomnode.send.folder import copy_to_folder
from dicomnode.send.outcome import StoreOutcome
from dicomnode.send.store_scu import send_instances
from dicomnode.spool.results import Outbox
from dicomnode.standard.ae import AEAddress

_log = get_logger("deliver")


class Delivery:
    """Sends the result objects of jobs to destinations.

    Parameters
    ----------
    database : Database
        Holds the ledger of what was taken.
    outbox : Outbox
    destinations : mapping of str to Destination
    calling_ae_titles : mapping of str to str
        Our AE title by pipeline, for destinations that name none.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        destinations: Mapping[str, Destination],
        calling_ae_titles: Mapping[str, str],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._destinations = destinations
        self._calling_ae_titles = calling_ae_titles

    def attempt(self, job_id: str, name: str, attempt: int) -> str:
        """Send what the destination has not taken yet, and record how it went.

        Returns
        -------
        str
            ``delivered``, ``again`` or ``parked``.

        Raises
        ------
        StateError
            If the job is not recorded.
        """
        begin = time.perf_counter()
        destination = self._destinations.get(name)
        with self._database.begin() as transaction:
            job = get_job(transaction, job_id)
        if job is None:
            raise StateError(f"job {job_id} is not recorded")
        if destination is None:
            return self._record(job, name, "parked", attempt, "the destination is not configured")
        try:
            outcome, words = self._send(job, name, destination)
        except Exception:
            # Nothing would try again: it must not look as if it were under way.
            self._record(job, name, "parked", attempt, "internal error")
            _log.exception("delivery_failed", job=job_id, destination=name)
            raise
        if outcome == "again" and attempt >= destination.max_attempts:
            outcome = "parked"
        if outcome == "delivered":
            with self._database.begin() as transaction:
                took = round(time.perf_counter() - begin, 3)
                add_seconds(transaction, job_id, {f"deliver {name}": took})
        return self._record(job, name, outcome, attempt, words)

    def _left(self, job: JobRow, name: str, destination: Destination) -> list[Path]:
        """Return the files of the objects that the destination wants and has not taken."""
        paths = {
            _sop_instance_uid(path): path
            for path in (
                self._outbox.path(job.files[each]) for each in files_for(destination, job.files)
            )
        }
        with self._database.begin() as transaction:
            taken = already_sent(transaction, name, paths)
        return [path for uid, path in paths.items() if uid not in taken]

    def _send(self, job: JobRow, name: str, destination: Destination) -> tuple[str, str]:
        try:
            paths = self._left(job, name, destination)
            if not paths:
                return "delivered", "nothing was left to send"
            outcomes = self._transport(job, name, destination, paths)
        except SendError as error:
            return ("again" if error.retryable else "parked"), str(error)
        except ConfigError as error:
            # Certificates may be in the middle of being renewed.
            return "again", str(error)
        refused = [each for each in outcomes if not each.accepted]
        words = "; ".join(f"{each.path.name}: {each.words}" for each in outcomes)
        if not refused:
            return "delivered", words
        return ("again" if all(each.transient for each in refused) else "parked"), words

    def _transport(
        self, job: JobRow, name: str, destination: Destination, paths: Sequence[Path]
    ) -> tuple[StoreOutcome, ...]:
        def note(outcome: StoreOutcome) -> None:
            # At once, not at the end: what was taken must be known if this process dies now.
            if outcome.accepted and outcome.status is not None:
                with self._database.begin() as transaction:
                    record_sent(transaction, name, outcome.sop_instance_uid, status=outcome.status)

        if isinstance(destination, DimseDestination):
            return send_instances(
                paths,
                to=AEAddress(destination.ae_title, destination.host, destination.port),
                calling_ae_title=destination.calling_ae_title
                or self._calling_ae_titles[job.pipeline],
                timeout_seconds=destination.timeout_seconds,
                tls=destination.tls,
                on_sent=note,
            )
        return copy_to_folder(paths, folder=destination.path, subfolder=job.series_instance_uid)

    def _record(self, job: JobRow, name: str, outcome: str, attempt: int, words: str) -> str:
        state = "pending" if outcome == "again" else outcome
        with self._database.begin() as transaction:
            set_delivery(transaction, job.id, name, state=state, attempts=attempt, words=words)
        DELIVERIES.labels(name, outcome).inc()
        _log.info("delivery", job=job.id, destination=name, outcome=outcome, attempt=attempt)
        return outcome


def _sop_instance_uid(path: Path) -> str:
    """Read the SOP Instance UID of a result file.

    Raises
    ------
    SendError
        If the file is gone from the outbox or is no DICOM file.
    """
    try:
        return str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
    except (OSError, InvalidDicomError) as error:
        raise SendError(f"{path.name} cannot be read from the outbox") from error
