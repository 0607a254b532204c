"""What the steps of an analysis do.  Each may run again; none does harm.

Their order, and when they run, is `workflows`'.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dicomnode.config import Destination
from dicomnode.database import Database, is_away
from dicomnode.database.delivery_rows import open_delivery
from dicomnode.database.job_rows import (
    JobRow,
    add_seconds,
    begin_stage,
    end_stage,
    find_predecessor,
    finish_job,
    get_job,
    supersede_former,
)
from dicomnode.database.series_rows import list_instances, set_fault
from dicomnode.engine import JobQueue
from dicomnode.errors import InferenceCancelled, InferenceInterrupted, NodeError, StateError
from dicomnode.imaging.contents import Faulty, SeriesContents
from dicomnode.imaging.volume import SeriesFault
from dicomnode.inference.client import TritonClient
from dicomnode.log import get_logger
from dicomnode.metrics import INSTANCES_QUARANTINED, JOBS
from dicomnode.model.findings import Findings
from dicomnode.model.instance import InstanceRef
from dicomnode.model.series import content_digest
from dicomnode.pipeline import analysis
from dicomnode.pipeline.choosing import settle
from dicomnode.pipeline.enqueue import enqueue_delivery
from dicomnode.pipeline.looking_after import tell_of_turns, watch_for_cancel
from dicomnode.pipeline.objects import SR_FILE
from dicomnode.pipeline.setup import PipelineSetup
from dicomnode.results.evidence import Predecessor, read_predecessor
from dicomnode.spool.instances import InstanceStore
from dicomnode.spool.quarantine import Quarantine
from dicomnode.spool.results import Outbox
from dicomnode.spool.workspace import Workspace

# A series that so many attempts of the inference server did not survive is not asked about again:
# each attempt costs the other series that are being analyzed theirs.
_MOST_INTERRUPTIONS: Final = 5

_log = get_logger("pipeline")


class _MovedOn(Exception):
    """Instances came after the job was made; the revision that holds them has its own."""


class AnalysisSteps:
    """The steps of an analysis, with all that they need.

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
    ) -> None:
        self._database = database
        self._store = store
        self._quarantine = quarantine
        self._outbox = outbox
        self._setups = setups
        self._client = client
        self._jobs = jobs
        self._destinations = destinations

    def guard(self, job_id: str, attempt: int, stage: str, step: Callable[[JobRow], str]) -> str:
        """Run a step; what it raises on purpose becomes the job's state, in words.

        Returns
        -------
        str
            ``go``, ``wait``, or the state that the job is in now.
        """
        runner = uuid.uuid4().hex
        with self._database.begin() as transaction:
            begun = begin_stage(transaction, job_id, stage, attempt=attempt, runner=runner)
            job = get_job(transaction, job_id)
        if job is None:
            raise StateError(f"job {job_id} is not recorded")
        if not begun:
            # Given up by an operator; or this step ran to its end once and died before that was
            # kept: the state that it left says how it went.
            return job.state
        return self._in_words(job, stage, step)

    def _in_words(self, job: JobRow, stage: str, step: Callable[[JobRow], str]) -> str:
        try:
            return step(job)
        except InferenceCancelled:
            return "cancelled"  # which its record says already
        except _MovedOn:
            self._outbox.clear_work(job.id)
            return self._end(job, "superseded", reason="later_revision", sentence=None)
        except InferenceInterrupted as error:
            return self._interrupted(job, error)
        except NodeError as error:
            state = "waiting" if error.retryable else "failed"
            ended = self._end(job, state, reason=type(error).__name__, sentence=str(error))
            return "wait" if ended == "waiting" else ended
        except Exception as error:
            if is_away(error):
                raise  # the engine repeats the step when the database is back
            self._end(job, "failed", reason=type(error).__name__, sentence="internal error")
            _log.exception("job_failed", job=job.id, stage=stage)
            return "failed"

    def _interrupted(self, job: JobRow, error: InferenceInterrupted) -> str:
        """Wait for the server to come back, unless it goes whenever it is asked about this."""
        count = job.interruptions + 1
        with self._database.begin() as transaction:
            end_stage(transaction, job.id, runner=str(job.runner), interruptions=count)
        told = f"attempt {count} that the inference server did not survive: {error}"
        state = "waiting" if count < _MOST_INTERRUPTIONS else "failed"
        ended = self._end(job, state, reason=type(error).__name__, sentence=told)
        return "wait" if ended == "waiting" else ended

    def assemble(self, job: JobRow) -> str:
        """Decide whether the pipeline wants the series, and make it a volume."""
        with self._database.begin() as transaction:
            refs = list_instances(transaction, job.pipeline, job.series_instance_uid)
        if content_digest(refs) != job.digest:
            raise _MovedOn
        workspace = self._workspace(job.id)
        if workspace.has("volume"):
            return "go"
        paths = [self._store.path(ref.key) for ref in refs]
        watch = analysis.Stopwatch(job.pipeline)
        contents, decision = analysis.choose(paths, self._setup(job), watch)
        final = settle(self._database, job, self._setup(job).config.selection, decision)
        if final is None:
            self._end(job, "waiting", reason="study_open", sentence="the study is not quiet yet")
            return "wait"
        if not final.is_selected:
            self._outbox.clear_work(job.id)
            self._end(job, "not_selected", reason="not_selected", sentence=final.sentence)
            return "not_selected"
        try:
            faulty = analysis.assemble(workspace, contents, self._setup(job), watch)
        except SeriesFault as fault:
            return self._refuse(job, refs, contents, fault, watch)
        self._put_aside(job, refs, faulty)
        self._add_seconds(job.id, watch)
        return "go"

    def _refuse(
        self,
        job: JobRow,
        refs: Sequence[InstanceRef],
        contents: SeriesContents,
        fault: SeriesFault,
        watch: analysis.Stopwatch,
    ) -> str:
        """Report why a series makes no volume, from the instances whose headers can be read."""
        paths = [self._store.path(ref.key) for ref in refs]
        report = analysis.write_refusal(
            analysis.choose_evidence(paths, contents, fault.faulty),
            self._setup(job),
            series_instance_uid=job.series_instance_uid,
            revision=job.revision,
            created=job.created_at,
            error=fault.error,
            predecessor=self._predecessor(job),
        )
        self._keep(job, report, watch)
        self._put_aside(job, refs, fault.faulty)
        self._end(job, "refused", reason=fault.error.reason, sentence=str(fault.error))
        return "refused"

    def _put_aside(
        self, job: JobRow, refs: Sequence[InstanceRef], faulty: Sequence[Faulty]
    ) -> None:
        """Show useless instances in the quarantine, and let whole ones take their place."""
        by_path = {self._store.path(ref.key): ref for ref in refs}
        for each in faulty:
            ref = by_path[each.path]
            # A copy: the instance stays what this revision of the series was made of.
            self._quarantine.keep(
                each.path.read_bytes() if each.path.is_file() else b"",
                reason=f"counts as missing: {each.fault}",
                facts={
                    "pipeline": job.pipeline,
                    "series_instance_uid": job.series_instance_uid,
                    "sop_instance_uid": ref.sop_instance_uid,
                    "key": ref.key,
                },
            )
            INSTANCES_QUARANTINED.labels(job.pipeline).inc()
            with self._database.begin() as transaction:
                set_fault(transaction, job.pipeline, ref.key, each.fault)

    def _predecessor(self, job: JobRow) -> Predecessor | None:
        """Return the report on an earlier revision of the series, if there is one."""
        with self._database.begin() as transaction:
            former = find_predecessor(transaction, job)
        if former is None or SR_FILE not in former.files:
            return None
        reason = (
            "Further instances of the series arrived after that."
            if former.revision < job.revision
            else "The pipeline has changed since."
        )
        return read_predecessor(
            self._outbox.path(former.files[SR_FILE]),
            revision=former.revision,
            reason=reason,
        )

    def infer(self, job: JobRow) -> str:
        """Ask the models."""
        workspace = self._with_findings(job)
        # From the work files: a step that runs again after a crash finds them made.
        volume, _paths = workspace.load_volume()
        findings = workspace.load_findings(volume.geometry)
        with self._database.begin() as transaction:
            end_stage(transaction, job.id, runner=str(job.runner), models=_record(findings))
        return "go"

    def _with_volume(self, job: JobRow) -> Workspace:
        """Return the work files, with the volume: one that was made elsewhere is made again."""
        workspace = self._workspace(job.id)
        if not workspace.has("volume"):
            with self._database.begin() as transaction:
                refs = list_instances(transaction, job.pipeline, job.series_instance_uid)
            if content_digest(refs) != job.digest:
                raise _MovedOn
            paths = [self._store.path(ref.key) for ref in refs]
            watch = analysis.Stopwatch(job.pipeline)
            contents, _decision = analysis.choose(paths, self._setup(job), watch)
            try:
                analysis.assemble(workspace, contents, self._setup(job), watch)
            except SeriesFault as fault:
                raise StateError(f"the volume cannot be made again: {fault.error}") from fault
        return workspace

    def _with_findings(self, job: JobRow) -> Workspace:
        """Return the work files, with what the models found; they are asked where it is missing."""
        workspace = self._with_volume(job)
        if not workspace.has("findings"):
            watch = analysis.Stopwatch(job.pipeline)
            with watch_for_cancel(self._database, job.id) as cancelled:
                analysis.infer(
                    workspace,
                    self._setup(job),
                    self._client.on_behalf_of(tell_of_turns(self._database, job)),
                    watch,
                    cancelled=cancelled.is_set,
                )
            self._add_seconds(job.id, watch)
        return workspace

    def results(self, job: JobRow) -> str:
        """Make the result objects."""
        workspace = self._with_findings(job)
        with self._database.begin() as transaction:
            refs = list_instances(transaction, job.pipeline, job.series_instance_uid)
        self._store.bring(ref.key for ref in refs)
        watch = analysis.Stopwatch(job.pipeline)
        contents = analysis.write_results(
            workspace,
            self._setup(job),
            series_instance_uid=job.series_instance_uid,
            revision=job.revision,
            created=job.created_at,
            watch=watch,
            predecessor=self._predecessor(job),
        )
        self._keep(job, contents, watch)
        return "done"

    def hand_over(self, job_id: str, outcome: str) -> str:
        """Give the results to delivery and clear up; analysis ends here, whatever a PACS does."""

        def give(job: JobRow) -> str:
            # A refusal that is only recorded leaves nothing to deliver.
            names = self._setup(job).config.destinations if job.files else ()
            with self._database.begin() as transaction:
                if not finish_job(transaction, job_id):
                    return "cancelled"
                for name in names:
                    # A repeat of this step must not undo what the delivery has recorded since.
                    if open_delivery(transaction, job_id, name):
                        config = self._destinations.get(name)
                        enqueue_delivery(self._jobs, transaction, job_id, name, 1, config=config)
                supersede_former(transaction, job)
            if job.state == "running":
                JOBS.labels(job.pipeline, "done").inc()
                _log.info("job_state", job=job_id, state="done", reason=None)
            self._outbox.clear_work(job_id)
            return outcome

        return self._in_words(self._job(job_id), "hand_over", give)

    def _job(self, job_id: str) -> JobRow:
        with self._database.begin() as transaction:
            job = get_job(transaction, job_id)
        if job is None:
            raise StateError(f"job {job_id} is not recorded")
        return job

    def _setup(self, job: JobRow) -> PipelineSetup:
        if job.pipeline not in self._setups:
            raise StateError(f"pipeline {job.pipeline!r} is not configured any more")
        return self._setups[job.pipeline]

    def _workspace(self, job_id: str) -> Workspace:
        return Workspace(self._outbox.work_dir(job_id))

    def _keep(self, job: JobRow, contents: Mapping[str, bytes], watch: analysis.Stopwatch) -> None:
        keys = {name: self._outbox.write(job.id, name, data) for name, data in contents.items()}
        with self._database.begin() as transaction:
            end_stage(transaction, job.id, runner=str(job.runner), files=keys)
        self._add_seconds(job.id, watch)

    def _add_seconds(self, job_id: str, watch: analysis.Stopwatch) -> None:
        with self._database.begin() as transaction:
            add_seconds(transaction, job_id, watch.seconds)

    def _end(self, job: JobRow, state: str, *, reason: str | None, sentence: str | None) -> str:
        """Record a state and return it, or ``cancelled`` if an operator came first."""
        with self._database.begin() as transaction:
            ended = end_stage(
                transaction,
                job.id,
                runner=str(job.runner),
                state=state,
                reason=reason,
                sentence=None if sentence is None else sentence[:500],
            )
            now = get_job(transaction, job.id)
        if not ended:
            # Taken over: what this run came to is all the same to its successor.
            _log.info("job_taken_over", job=job.id, state=state, reason=reason)
            return "cancelled" if now is not None and now.state == "cancelled" else state
        JOBS.labels(job.pipeline, state).inc()
        _log.info("job_state", job=job.id, state=state, reason=reason)
        return state


def _record(findings: Findings) -> list[dict[str, str]]:
    """Return what a job's record keeps of the models that were asked."""
    return [
        {
            "name": each.name,
            "version": each.version,
            "manifest_digest": each.manifest_digest,
            "triton_model": each.triton_model,
            "server": each.server,
            "asked_at": each.asked_at,
        }
        for each in findings.models
        if each.asked_at
    ]
