"""Whether a job's series is to be analyzed: the rules, the competition of a study, the record.

No image is looked at here; what the rules say of one series is `series.selection`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dicomnode.database import Database
from dicomnode.database.decision_rows import list_study, record_decision
from dicomnode.database.job_rows import JobRow
from dicomnode.model.selection import Decision, SelectionRules
from dicomnode.series.selection import compete


def settle(
    database: Database, job: JobRow, rules: SelectionRules, decision: Decision
) -> Decision | None:
    """Record the decision on a series; where only the best of a study is wanted, compare first.

    Returns
    -------
    Decision or None
        None where the study is not quiet yet and it must be asked again later.
    """
    with database.begin() as transaction:
        record_decision(transaction, job.pipeline, job.series_instance_uid, job.revision, decision)
    if not rules.best_of_study or not decision.is_selected:
        return decision
    with database.begin() as transaction:
        members = list_study(transaction, job.pipeline, job.series_instance_uid)
    latest = max(each.last_received_at for each in members)
    others = [each for each in members if each.series_instance_uid != job.series_instance_uid]
    # The absolute value: a clock that was set back must not make this wait for a day.
    if abs(datetime.now(UTC) - latest) < timedelta(seconds=rules.study_quiet_seconds):
        return None
    if any(each.state == "open" or _is_undecided(each.state, each.decision) for each in others):
        return None
    final = compete(
        decision,
        uid=job.series_instance_uid,
        others=[
            (each.series_instance_uid, each.decision)
            for each in others
            if each.decision is not None
        ],
    )
    with database.begin() as transaction:
        record_decision(transaction, job.pipeline, job.series_instance_uid, job.revision, final)
    return final


def _is_undecided(state: str, decision: Decision | None) -> bool:
    """Whether the rules have still to be asked; a series that is held may never be."""
    return state == "closed" and decision is None
