"""What an operator may do with a job, and when."""

from __future__ import annotations

from collections import Counter

import pytest
import sqlalchemy as sa

from dicomnode.database.job_rows import set_job
from dicomnode.database.tables import attempt as attempts
from dicomnode.errors import (
    InferenceUnavailable,
    ModelContractMismatch,
    ResultError,
    StateError,
)
from dicomnode.pipeline import analysis
from dicomnode.pipeline.steering import cancel_job, retry_job, send_job
from tests.support.deliveries import set_delivery


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

    bench.jobs.enqueue_in = broken
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


def test_a_retry_goes_on_from_the_step_that_failed(bench, monkeypatch):
    def broken(*_arguments, **_named):
        raise ResultError("no room for a SEG")

    with monkeypatch.context() as patch:
        patch.setattr("dicomnode.pipeline.analysis.write_results", broken)
        job_id = bench.submit_series()
        bench.jobs.run_all()
    assert (bench.job(job_id).state, bench.job(job_id).stage) == ("failed", "results")
    assembled = []
    original = analysis.assemble
    monkeypatch.setattr(
        "dicomnode.pipeline.analysis.assemble",
        lambda *given: assembled.append(given) or original(*given),
    )

    retry_job(bench.database, bench.jobs, job_id)
    bench.jobs.run_all()

    assert bench.job(job_id).state == "done"
    assert bench.client.asked == ["lung"]
    assert assembled == []


def send_again(bench, job_id):
    return send_job(
        bench.database, bench.jobs, job_id, "results", destinations=bench.config.destinations
    )


def test_what_an_operator_sends_is_sent_again_and_under_the_same_uids(bench, pacs):
    bench.config.destinations["results"] = pacs.destination
    bench.build()
    job_id = bench.submit_series()
    bench.jobs.run_all()
    assert len(pacs.uids()) == 2

    for times in (2, 3):
        assert "delivery to results was enqueued" in send_again(bench, job_id)
        bench.jobs.run_all()
        assert bench.delivery(job_id).state == "delivered"
        assert len(pacs.uids()) == 2 * times

    assert len(set(pacs.uids())) == 2


def test_a_further_attempt_after_an_operators_word_repeats_nothing(bench, pacs):
    bench.config.destinations["results"] = pacs.destination
    bench.build()
    job_id = bench.submit_series()
    bench.jobs.run_all()

    pacs.refuse(0xA701, times=1)
    send_again(bench, job_id)
    bench.jobs.run_all()

    assert bench.delivery(job_id).state == "delivered"
    assert bench.delivery(job_id).attempts == 3
    assert list(Counter(pacs.uids()).values()) == [2, 2]


def test_what_a_dead_worker_had_sent_is_sent_again_too(bench, pacs):
    bench.config.destinations["results"] = pacs.destination
    bench.build()
    job_id = bench.submit_series()
    bench.jobs.run_all()
    with bench.database.begin() as transaction:
        # As if it had died between each acceptance and the record of the attempt.
        transaction.execute(sa.delete(attempts))
        set_delivery(
            transaction, job_id, "results", state="parked", attempts=1, words="given up: it died"
        )

    send_again(bench, job_id)
    bench.jobs.run_all()

    assert list(Counter(pacs.uids()).values()) == [2, 2]


def test_what_is_under_way_cannot_be_sent_a_second_time(bench):
    job_id = bench.submit_series()
    bench.jobs.run_next()

    with pytest.raises(StateError, match="is being sent to results already"):
        send_job(
            bench.database, bench.jobs, job_id, "results", destinations=bench.config.destinations
        )


def test_an_unknown_destination_is_told_with_those_that_are_known(bench):
    job_id = bench.submit_series()

    with pytest.raises(StateError, match=r"no destination is called 'PACS'; known are .*results"):
        send_job(bench.database, bench.jobs, job_id, "PACS", destinations=bench.config.destinations)


def test_a_job_without_results_cannot_be_sent(bench):
    job_id = bench.submit_series()

    with pytest.raises(StateError, match="is queued and has no results to send"):
        send_job(
            bench.database, bench.jobs, job_id, "results", destinations=bench.config.destinations
        )
