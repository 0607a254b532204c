"""One delivery attempt: which objects are still to go, how they went, what is next."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.config import (
    SENDER,
    Destination,
    DicomwebDestination,
    DimseDestination,
)
from dicomnode.database import Database, is_away
from dicomnode.database.delivery_rows import (
    already_sent,
    forget_sent,
    get_delivery,
    list_attempts,
    record_attempt,
    record_sent,
    settle_delivery,
)
from dicomnode.database.job_rows import JobRow, add_seconds, get_job
from dicomnode.database.series_rows import get_series
from dicomnode.errors import ConfigError, ContextNotAccepted, NodeError, SendError, StateError
from dicomnode.log import get_logger
from dicomnode.metrics import DELIVERIES, DELIVERY_SECONDS, RESULT_SECONDS
from dicomnode.pipeline.parcels import Parcel, Plan, fall_back, make_plan, open_parcel
from dicomnode.send.folder import copy_to_folder
from dicomnode.send.outcome import StoreOutcome
from dicomnode.send.store_scu import send_instances
from dicomnode.send.stow import StowClient
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
    return_to : mapping of str to str
        By calling AE title: ``AET@HOST:PORT`` for results that go back to the sender.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        destinations: Mapping[str, Destination],
        calling_ae_titles: Mapping[str, str],
        return_to: Mapping[str, str],
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._destinations = destinations
        self._calling_ae_titles = calling_ae_titles
        self._return_to = return_to
        self._stow = {
            name: StowClient(each)
            for name, each in destinations.items()
            if isinstance(each, DicomwebDestination)
        }

    def attempt(self, job_id: str, name: str, attempt: int) -> str:
        """Send what the destination has not taken yet, and record how it went.

        Returns
        -------
        str
            ``delivered``, ``commit`` (delivered, and commitment is to be asked for), ``again`` or
            ``parked``.

        Raises
        ------
        StateError
            If the job is not recorded.
        """
        begin = time.perf_counter()
        with self._database.begin() as transaction:
            job = get_job(transaction, job_id)
            row = get_delivery(transaction, job_id, name)
            attempts = list_attempts(transaction, job_id)
        if job is None:
            raise StateError(f"job {job_id} is not recorded")
        destination = self.resolve(job, name)
        if destination is None:
            words = f"no destination {name!r} is configured for this job"
            return self._record(job, name, "parked", attempt, words, Plan(()), 0.0)
        plan = make_plan(job, destination, [each for each in attempts if each.destination == name])
        try:
            outcome, words = self._carry_out(plan, job, name, destination)
        except Exception as error:
            if is_away(error):
                raise  # the engine repeats the step when the database is back
            # Nothing would try again: it must not look as if it were under way.
            seconds = time.perf_counter() - begin
            self._record(job, name, "parked", attempt, "internal error", plan, seconds)
            _log.exception("delivery_failed", job=job_id, destination=name)
            raise
        made_before = 0 if row is None else row.attempts_before
        if outcome == "again" and attempt - made_before >= destination.max_attempts:
            outcome = "parked"
        if (
            outcome == "delivered"
            and isinstance(destination, DimseDestination)
            and destination.storage_commitment
        ):
            outcome = "commit"
        seconds = time.perf_counter() - begin
        return self._record(job, name, outcome, attempt, words, plan, seconds)

    def forget(self, job_id: str, name: str) -> int:
        """Strike a job's objects from the ledger: an operator wants them sent, taken or not.

        Returns
        -------
        int
            How many may have been in it.

        Raises
        ------
        StateError
            If the job is not recorded.
        """
        with self._database.begin() as transaction:
            job = get_job(transaction, job_id)
            attempts = [
                each for each in list_attempts(transaction, job_id) if each.destination == name
            ]
        if job is None:
            raise StateError(f"job {job_id} is not recorded")
        uids = {each["sop_instance_uid"] for row in attempts for each in row.objects}
        destination = self.resolve(job, name)
        if destination is not None:
            # What a worker sent that died over it each time is in no attempt.
            for file in make_plan(job, destination, attempts).names():
                with suppress(SendError):  # the attempt says that it cannot be read
                    uids.add(open_parcel(self._outbox, job, file).sop_instance_uid)
        with self._database.begin() as transaction:
            forget_sent(transaction, name, sorted(uids))
        return len(uids)

    def resolve(self, job: JobRow, name: str) -> Destination | None:
        """Return the destination of that name for a job; None if there is none (any more)."""
        if name != SENDER:
            return self._destinations.get(name)
        with self._database.begin() as transaction:
            series = get_series(transaction, job.pipeline, job.series_instance_uid)
        address = None if series is None else self._return_to.get(series.calling_ae_title)
        if address is None:
            return None
        to = AEAddress.parse(address)
        return DimseDestination(
            kind="dimse",
            ae_title=to.ae_title,
            host=to.host,
            port=to.port,
            calling_ae_title=None,
        )

    def calling_ae_title(self, job: JobRow, destination: DimseDestination) -> str:
        """Return our AE title towards a destination."""
        return destination.calling_ae_title or self._calling_ae_titles[job.pipeline]

    def taken_parcels(self, job: JobRow, name: str, destination: Destination) -> list[Parcel]:
        """Return the objects of a job that the destination has taken."""
        with self._database.begin() as transaction:
            attempts = list_attempts(transaction, job.id)
        plan = make_plan(job, destination, [each for each in attempts if each.destination == name])
        parcels = [open_parcel(self._outbox, job, each) for each in plan.names()]
        taken = self._taken(name, parcels)
        return [each for each in parcels if each.sop_instance_uid in taken]

    def _taken(self, name: str, parcels: Sequence[Parcel]) -> frozenset[str]:
        with self._database.begin() as transaction:
            return already_sent(transaction, name, [each.sop_instance_uid for each in parcels])

    def _carry_out(
        self, plan: Plan, job: JobRow, name: str, destination: Destination
    ) -> tuple[str, str]:
        """Send, and send something else in place of what is refused; return outcome and words."""
        files = plan.names()
        try:
            while files:
                parcels = [open_parcel(self._outbox, job, each) for each in files]
                self._send(plan, parcels, job, name, destination)
                for each in files:
                    _fall_back(plan, each, destination, job)
                files = tuple(each for each in plan.names() if each not in plan.outcomes)
        except ConfigError as error:
            # Certificates may be in the middle of being renewed.
            return "again", str(error)
        except NodeError as error:
            said = f"{plan.words()}; " if plan.outcomes else ""
            return ("again" if error.retryable else "parked"), f"{said}{error}"
        if plan.is_complete():
            return "delivered", plan.words()
        return ("again" if plan.can_succeed_later() else "parked"), plan.words()

    def _send(
        self,
        plan: Plan,
        parcels: Sequence[Parcel],
        job: JobRow,
        name: str,
        destination: Destination,
    ) -> None:
        """Send parcels that the ledger does not have; note each outcome in plan and ledger."""
        taken = self._taken(name, parcels)
        by_path = {each.path: each for each in parcels}

        def note(outcome: StoreOutcome) -> None:
            # At once, not at the end: what was taken must be known if this process dies now.
            file = by_path[outcome.path].name
            plan.outcomes[file] = outcome
            if outcome.accepted and outcome.status is not None:
                with self._database.begin() as transaction:
                    record_sent(transaction, name, outcome.sop_instance_uid, status=outcome.status)
            _fall_back(plan, file, destination, job)

        def is_wanted(path: Path) -> bool:
            # A report on a SEG that was refused just now is not: another stands for it.
            return by_path[path].name in plan.names()

        left: list[Path] = []
        for parcel in parcels:
            if parcel.sop_instance_uid in taken:
                plan.outcomes[parcel.name] = _outcome(parcel, "taken before", accepted=True)
            else:
                left.append(parcel.path)
        if not left:
            return
        try:
            self._transport(left, job, name, destination, note, is_wanted)
        except ContextNotAccepted as error:
            # One clear failure of the association is the failure of each object.
            for path in left:
                plan.outcomes[by_path[path].name] = _outcome(
                    by_path[path], str(error), accepted=False
                )

    def _transport(
        self,
        paths: Sequence[Path],
        job: JobRow,
        name: str,
        destination: Destination,
        note: Callable[[StoreOutcome], None],
        is_wanted: Callable[[Path], bool],
    ) -> None:
        if isinstance(destination, DimseDestination):
            send_instances(
                paths,
                to=AEAddress(destination.ae_title, destination.host, destination.port),
                calling_ae_title=self.calling_ae_title(job, destination),
                timeout_seconds=destination.timeout_seconds,
                tls=destination.tls,
                on_sent=note,
                is_wanted=is_wanted,
            )
        elif isinstance(destination, DicomwebDestination):
            self._stow[name].send(paths, on_sent=note)
        else:
            for outcome in copy_to_folder(
                paths, folder=destination.path, subfolder=job.series_instance_uid
            ):
                note(replace(outcome, status=None))

    def _record(
        self,
        job: JobRow,
        name: str,
        outcome: str,
        attempt: int,
        words: str,
        plan: Plan,
        seconds: float,
    ) -> str:
        state = {"again": "pending", "commit": "committing"}.get(outcome, outcome)
        is_taken = outcome in {"delivered", "commit"}
        with self._database.begin() as transaction:
            before = get_delivery(transaction, job.id, name)
            record_attempt(
                transaction,
                job.id,
                name,
                attempt,
                outcome=outcome,
                words=words,
                objects=plan.records(),
                seconds=seconds,
            )
            settle_delivery(transaction, job.id, name, state=state, attempt=attempt, words=words)
            if is_taken:
                add_seconds(transaction, job.id, {f"deliver {name}": round(seconds, 3)})
            series = get_series(transaction, job.pipeline, job.series_instance_uid)
        DELIVERIES.labels(name, outcome).inc()
        DELIVERY_SECONDS.labels(name).observe(seconds)
        # Not of what an operator has sent once more, nor where later instances have come since.
        is_first = before is not None and before.attempts_before == 0
        if is_taken and is_first and series is not None and series.revision == job.revision:
            since = (datetime.now(UTC) - series.last_received_at).total_seconds()
            RESULT_SECONDS.labels(job.pipeline, name).observe(since)
        _log.info("delivery", job=job.id, destination=name, outcome=outcome, attempt=attempt)
        return outcome


def _fall_back(plan: Plan, file: str, destination: Destination, job: JobRow) -> None:
    outcome = plan.outcomes.get(file)
    if outcome is not None and not outcome.accepted and not outcome.transient:
        fall_back(plan, file, destination, job)


def _outcome(parcel: Parcel, words: str, *, accepted: bool) -> StoreOutcome:
    return StoreOutcome(
        sop_instance_uid=parcel.sop_instance_uid,
        path=parcel.path,
        status=None,
        words=words,
        accepted=accepted,
        transient=False,
    )
