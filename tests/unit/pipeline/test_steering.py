"""What an operator may do with a job, and when."""

from __future__ import annotations

import pytest

from dicomnode.database.job_rows import set_job
from dicomnode.errors import InferenceUnavailable, ModelContractMismatch, StateError
from dicomnode.pipeline.steering import cancel_job, retry_job


def test_a_failed_analysis_is_tried_again(bench):
    bench.client.fault = ModelContractMismatch("no")
    job_id = bench.submit_series()
    bench.jobs.run_all()
    bench.client.fault = None

    words = retry_job(bench.database, bench.jobs, job_id)

    assert job_id in words
    assert (bench.job(job_id).state, bench.job(job_id).sentence) == ("queued", None)
    bench.jobs.run_all()
    assert bench.job(job_id).state == "done"
    assert bench.delivery(job_id).state == "delivered"


def test_a_retry_can_fail_and_be_tried_again(bench):
    bench.client.fault = ModelContractMismatch("no")
    job_id = bench.submit_series()
    bench.jobs.run_all()

    for attempt in (2, 3):
        retry_job(bench.database, bench.jobs, job_id)
        assert bench.jobs.run_next() == "failed"
        assert bench.job(job_id).attempt == attempt


def test_a_failed_enqueue_leaves_the_job_as_it_was(bench):
    bench.client.fault = ModelContractMismatch("no")
    job_id = bench.submit_series()
    bench.jobs.run_all()

    def broken(*_arguments, **_named):
        raise RuntimeError("the engine is away")

    bench.jobs.enqueue_in = bench.jobs.enqueue = broken
    with pytest.raises(RuntimeError):
        retry_job(bench.database, bench.jobs, job_id)

    assert bench.job(job_id).state == "failed"


def test_parked_deliveries_are_tried_again_and_nothing_else(bench):
    bench.results.write_text("a file where the folder should be")
    job_id = bench.submit_series()
    bench.jobs.run_all()
    assert bench.delivery(job_id).state == "parked"
    bench.results.unlink()

    words = retry_job(bench.database, bench.jobs, job_id)

    assert "results" in words
    assert bench.delivery(job_id).state == "pending"
    bench.jobs.run_all()
    assert bench.delivery(job_id).state == "delivered"
    assert bench.client.asked.count("lung") == 1


def test_what_ended_well_cannot_be_retried(bench):
    job_id = bench.submit_series()
    bench.jobs.run_all()

    with pytest.raises(StateError, match="nothing to retry"):
        retry_job(bench.database, bench.jobs, job_id)


@pytest.mark.parametrize("verb", [retry_job, cancel_job])
def test_an_unknown_job_is_told(bench, verb):
    with pytest.raises(StateError, match="no job nobody"):
        verb(bench.database, bench.jobs, "nobody")


def test_a_queued_job_can_be_cancelled_and_retried(bench):
    job_id = bench.submit_series()

    cancel_job(bench.database, bench.jobs, job_id)
    assert bench.job(job_id).state == "cancelled"
    assert not bench.jobs.waiting
    retry_job(bench.database, bench.jobs, job_id)
    bench.jobs.run_all()

    assert bench.job(job_id).state == "done"


def test_a_waiting_job_can_be_cancelled(bench):
    bench.client.fault = InferenceUnavailable("away")
    job_id = bench.submit_series()
    bench.jobs.run_next()
    bench.jobs.run_next()

    cancel_job(bench.database, bench.jobs, job_id)

    assert not bench.jobs.waiting
    assert bench.job(job_id).state == "cancelled"


@pytest.mark.parametrize("state", ["done", "refused", "superseded", "failed", "cancelled"])
def test_what_has_ended_cannot_be_cancelled(bench, state):
    job_id = bench.submit_series()
    with bench.database.begin() as transaction:
        set_job(transaction, job_id, state=state, reason="because")

    with pytest.raises(StateError, match=f"is {state} already"):
        cancel_job(bench.database, bench.jobs, job_id)

    assert (bench.job(job_id).state, bench.job(job_id).reason) == (state, "because")
