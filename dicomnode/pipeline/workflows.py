"""The analysis and its deliveries as durable workflows: which step follows which, and when.

analyze:  assemble -> infer -> results -> hand over         (waits, durably, while Triton is away)
deliver:  [forget ->] send -> done | ask for commitment | send again later, durably | parked
          (one workflow an attempt; the ledger is forgotten where an operator asks for it)

What the steps do is in `steps`, `delivery` and `commitment`.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from dicomnode import tracing
from dicomnode.config import Destination
from dicomnode.database import Database, is_away
from dicomnode.database.delivery_rows import get_delivery
from dicomnode.database.job_rows import (
    get_job,
    plan_attempt,
    trace_of,
)
from dicomnode.engine import JobQueue, run_step
from dicomnode.inference.client import TritonClient
from dicomnode.log import bound
from dicomnode.pipeline.commitment import Commitments
from dicomnode.pipeline.delivery import Delivery
from dicomnode.pipeline.enqueue import enqueue_analysis, enqueue_delivery
from dicomnode.pipeline.identifiers import series_of_job
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.pipeline.steps import AnalysisSteps
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox

_WAITS_SECONDS: Final = (5.0, 60.0)


class Workflows:
    """The workflows of a worker, with all that their steps need.

    Parameters
    ----------
    database : Database
    store : InstanceStore
    quarantine : Quarantine
        For instances that turn out useless.
    outbox : Outbox
    setups : mapping of str to PipelineSetup
        By pipeline name.
    client : TritonClient
    jobs : JobQueue
    destinations : mapping of str to Destination
        By name, as configured.
    return_to : mapping of str to str, optional
        ``AET@HOST:PORT`` by calling AE title, for the destination ``sender``.
    waits : tuple of float, optional
        First and longest pause of a job that waits, seconds.
    """

    def __init__(
        self,
        *,
        database: Database,
        store: InstanceStore,
        quarantine: Quarantine,
        outbox: Outbox,
        setups: Mapping[str, PipelineSetup],
        client: TritonClient,
        jobs: JobQueue,
        destinations: Mapping[str, Destination],
        return_to: Mapping[str, str] | None = None,
        waits: tuple[float, float] = _WAITS_SECONDS,
    ) -> None:
        self._database = database
        self._jobs = jobs
        self._waits = waits
        self._steps = AnalysisSteps(
            database=database,
            store=store,
            quarantine=quarantine,
            outbox=outbox,
            setups=setups,
            client=client,
            jobs=jobs,
            destinations=destinations,
        )
        self._delivery = Delivery(
            database,
            outbox,
            destinations,
            {name: setup.config.ae_title for name, setup in setups.items()},
            return_to or {},
        )
        self._commitments = Commitments(database, jobs, self._delivery, destinations)

    def by_name(self) -> dict[str, Callable[..., Any]]:
        """Return the workflows as the engine wants them."""

        def analyze(job_id: str, attempt: int) -> str:
            with self._around("analyze", job_id, attempt=attempt) as span:
                outcome = self._analyze(job_id, attempt)
                span.note(outcome=outcome)
            return outcome

        def deliver(job_id: str, destination: str, attempt: int, anew: bool = False) -> str:
            with self._around("deliver", job_id, attempt=attempt, destination=destination) as span:
                if anew:
                    # A step of its own: once sending has begun, what is taken is taken.
                    run_step("forget", lambda: self._delivery.forget(job_id, destination))
                outcome = self._deliver(job_id, destination, attempt)
                span.note(outcome=outcome)
            return outcome

        def check_commitment(transaction_uid: str) -> str:
            return run_step("check", lambda: self._commitments.check(transaction_uid))

        return {"analyze": analyze, "deliver": deliver, "check_commitment": check_commitment}

    @contextmanager
    def _around(self, name: str, job_id: str, **attributes: str | int) -> Iterator[tracing.Span]:
        """Put a job's ids on what is logged in the block, and the block into the job's trace."""
        with (
            bound(job=job_id, series=series_of_job(job_id)),
            tracing.span(
                name, kind="consumer", parent=self._trace_of(job_id), job=job_id, **attributes
            ) as span,
        ):
            yield span

    def _trace_of(self, job_id: str) -> str | None:
        if not tracing.is_on():
            return None
        try:
            with self._database.begin() as transaction:
                return trace_of(transaction, job_id)
        except Exception as error:
            if not is_away(error):
                raise
            return None  # the job goes on without its trace; its steps wait for the database

    # -- analyze

    def _analyze(self, job_id: str, attempt: int) -> str:
        stages = (
            ("assemble", self._steps.assemble),
            ("infer", self._steps.infer),
            ("results", self._steps.results),
        )
        outcome = "go"
        for stage, step in stages:
            if outcome == "go":
                outcome = run_step(stage, partial(self._steps.guard, job_id, attempt, stage, step))
        if outcome == "wait":
            run_step("wait", lambda: self._wait(job_id, attempt))
        elif outcome in ("done", "refused"):
            outcome = run_step("hand_over", lambda: self._steps.hand_over(job_id, outcome))
        return outcome

    def _wait(self, job_id: str, attempt: int) -> None:
        first, longest = self._waits
        delay = min(longest, first * 2 ** min(attempt - 1, 10))
        with self._database.begin() as transaction:
            job = get_job(transaction, job_id)
            if job is not None and job.interruptions:
                # Apart from the others that were interrupted with it: one may be the cause.
                delay *= 1 + zlib.crc32(job_id.encode()) / 2**32
            if plan_attempt(transaction, job_id, after=attempt):
                enqueue_analysis(self._jobs, transaction, job_id, attempt + 1, delay_seconds=delay)

    # -- deliver

    def _deliver(self, job_id: str, destination: str, attempt: int) -> str:
        outcome = run_step("send", lambda: self._delivery.attempt(job_id, destination, attempt))
        if outcome == "commit":
            run_step("commit", lambda: self._commitments.ask(job_id, destination, attempt))
        elif outcome == "again":
            run_step("again", lambda: self._again(job_id, destination, attempt))
        return outcome

    def _again(self, job_id: str, name: str, attempt: int) -> None:
        with self._database.begin() as transaction:
            job = get_job(transaction, job_id)
            row = get_delivery(transaction, job_id, name)
        config = None if job is None else self._delivery.resolve(job, name)
        made = attempt - (0 if row is None else row.attempts_before)
        delay = 0.0
        if config is not None:
            delay = min(
                config.longest_retry_seconds,
                config.first_retry_seconds * 2 ** min(max(made, 1) - 1, 20),
            )
        with self._database.begin() as transaction:
            enqueue_delivery(
                self._jobs,
                transaction,
                job_id,
                name,
                attempt + 1,
                config=config,
                delay_seconds=delay,
            )
