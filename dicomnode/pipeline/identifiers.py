"""How the engine's workflows are called: from a job, and from a job again."""

from __future__ import annotations


def series_of_job(job_id: str) -> str:
    """Return the Series Instance UID that a job's id begins with."""
    return job_id.partition(":")[0]


def analysis_workflow_id(job_id: str, attempt: int) -> str:
    """Return the id of a job's analysis in the engine; the first attempt's is the job's own."""
    return job_id if attempt == 1 else f"{job_id}:try:{attempt}"


def delivery_workflow_id(job_id: str, destination: str, attempt: int) -> str:
    """Return the id of an attempt at a delivery in the engine."""
    return f"{job_id}:to:{destination}:{attempt}"


def commitment_workflow_id(transaction_uid: str, what: str) -> str:
    """Return the id of what follows a request for storage commitment: ``check``, ``answer``."""
    return f"{transaction_uid}:{what}"
