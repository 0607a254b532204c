"""The analysis and its delivery: how each ends, and what a repeat does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydicom import dcmread

from dicomnode.database.job_rows import set_job
from dicomnode.errors import InferenceInterrupted, InferenceUnavailable, ModelContractMismatch
from dicomnode.pipeline import analysis
from dicomnode.pipeline.identifiers import analysis_workflow_id
from dicomnode.pipeline.steering import cancel_job, retry_job


def test_a_series_is_analyzed_and_delivered(bench):
    job_id = bench.submit_series()

    assert bench.jobs.run_next() == "done"
    assert bench.jobs.run_next() == "delivered"

    job = bench.job(job_id)
    assert (job.state, job.reason, job.sentence) == ("done", None, None)
    assert sorted(job.files) == ["findings.json", "overlay.png", "seg.dcm", "sr.dcm"]
    assert {"assemble", "segment", "measure", "results", "picture"} < set(job.seconds)
    assert bench.delivery(job_id).state == "delivered"
    assert bench.arrived() == ["seg.dcm", "sr.dcm"]
    assert bench.work_files() == []
    assert not bench.jobs.waiting


def test_the_same_content_is_analyzed_once(bench):
    paths = bench.make()
    series = bench.receive(paths[:-1])
    first = bench.close(series)
    bench.jobs.run_all()
    bench.receive(paths[-1:])
    assert bench.close(series) != first
    bench.jobs.run_all()

    with bench.database.begin() as transaction:
        from dicomnode.database.tables import series as table

        transaction.execute(table.update().values(state="open"))
    assert bench.close(series) is None
    assert not bench.jobs.waiting


def test_a_series_that_moved_on_is_left_to_its_later_revision(bench):
    paths = bench.make()
    series = bench.receive(paths[:-1])
    first = bench.close(series)
    bench.receive(paths[-1:])
    second = bench.close(series)

    assert bench.jobs.run_next() == "superseded"
    assert bench.jobs.run_next() == "done"

    assert (bench.job(first).state, bench.job(first).reason) == ("superseded", "later_revision")
    assert (bench.job(second).state, bench.job(second).revision) == ("done", 2)
    assert bench.client.asked.count("lung") == 1
    assert bench.work_files() == []


def test_a_series_that_is_no_volume_gets_an_sr_that_says_why(bench):
    paths = bench.make()
    job_id = bench.close(bench.receive([*paths[:3], *paths[4:]]))

    assert bench.jobs.run_next() == "refused"
    assert bench.jobs.run_next() == "delivered"

    job = bench.job(job_id)
    assert (job.state, job.reason) == ("refused", "missing_slices")
    assert bench.client.asked == []
    assert bench.arrived() == ["sr.dcm"]
    [path] = bench.results.rglob("sr.dcm")
    texts = [str(each.value) for each in dcmread(path).iterall() if each.keyword == "TextValue"]
    assert any(job.sentence in text for text in texts)


def test_a_refusal_that_is_only_recorded_delivers_nothing(bench):
    setup = bench.setups["chest"]
    report = setup.config.report.model_copy(update={"not_analyzed": "record"})
    config = setup.config.model_copy(update={"report": report})
    bench.setups["chest"] = replace(setup, config=config)
    paths = bench.make()
    job_id = bench.close(bench.receive([*paths[:3], *paths[4:]]))

    bench.jobs.run_all()

    job = bench.job(job_id)
    assert (job.state, job.reason) == ("refused", "missing_slices")
    assert job.sentence
    assert job.files == {}
    assert bench.deliveries(job_id) == ()
    assert bench.arrived() == []


def test_while_the_inference_server_is_away_the_job_waits_longer_each_time(bench):
    bench.client.fault = InferenceUnavailable("127.0.0.1:8001 does not answer")
    job_id = bench.submit_series()

    for attempt in range(1, 8):
        assert bench.jobs.run_next() == "wait"
        job = bench.job(job_id)
        assert (job.state, job.reason, job.attempt) == (
            "waiting",
            "InferenceUnavailable",
            attempt + 1,
        )
    bench.client.fault = None
    assert bench.jobs.run_next() == "done"

    delays = [bench.jobs.delays[analysis_workflow_id(job_id, number)] for number in range(1, 9)]
    assert delays == [0, 5, 10, 20, 40, 60, 60, 60]
    assert bench.job(job_id).reason is None
    # The volume was made once.
    assert bench.client.asked.count("lung") == 1


def test_a_series_that_the_inference_server_never_survives_is_given_up(bench):
    bench.client.fault = InferenceInterrupted("the model's process ended")
    job_id = bench.submit_series()

    for count in range(1, 5):
        assert bench.jobs.run_next() == "wait"
        assert (bench.job(job_id).state, bench.job(job_id).interruptions) == ("waiting", count)
    assert bench.jobs.run_next() == "failed"

    job = bench.job(job_id)
    assert (job.reason, job.interruptions) == ("InferenceInterrupted", 5)
    assert job.sentence == (
        "attempt 5 that the inference server did not survive: the model's process ended"
    )
    assert not bench.jobs.waiting

    # An operator who gave the model more memory may ask again, from the first attempt on.
    retry_job(bench.database, bench.jobs, job_id)
    assert bench.jobs.run_next() == "wait"
    assert bench.job(job_id).interruptions == 1
    bench.client.fault = None
    assert bench.jobs.run_next() == "done"


def test_an_absent_server_is_waited_for_however_often_it_was_interrupted(bench):
    job_id = bench.submit_series()
    for fault in [InferenceInterrupted("ended"), *[InferenceUnavailable("away")] * 9]:
        bench.client.fault = fault
        assert bench.jobs.run_next() == "wait"

    assert bench.job(job_id).interruptions == 1
    # Jobs that were interrupted together come back one by one.
    assert 5 < bench.jobs.delays[analysis_workflow_id(job_id, 2)] < 10


def test_a_fault_that_no_retry_mends_fails_the_job_in_words(bench):
    bench.client.fault = ModelContractMismatch("wanted INT16, found FP32")
    job_id = bench.submit_series()

    assert bench.jobs.run_next() == "failed"

    job = bench.job(job_id)
    assert (job.state, job.stage) == ("failed", "infer")
    assert (job.reason, job.sentence) == ("ModelContractMismatch", "wanted INT16, found FP32")
    assert not bench.jobs.waiting
    assert bench.deliveries(job_id) == ()


def test_an_unforeseen_fault_fails_the_job_without_its_text(bench, monkeypatch):
    def broken(*_arguments, **_named):
        raise KeyError("PHANTOM^CHEST")

    monkeypatch.setattr(analysis, "infer", broken)
    job_id = bench.submit_series()

    assert bench.jobs.run_next() == "failed"

    job = bench.job(job_id)
    assert (job.state, job.reason, job.sentence) == ("failed", "KeyError", "internal error")


def test_a_cancelled_job_does_nothing(bench):
    job_id = bench.submit_series()
    with bench.database.begin() as transaction:
        set_job(transaction, job_id, state="cancelled")

    assert bench.jobs.run_next() == "cancelled"

    assert bench.client.asked == []
    assert bench.job(job_id).state == "cancelled"
    assert not bench.jobs.waiting


@pytest.mark.parametrize(
    "fault", [InferenceUnavailable("away"), ModelContractMismatch("no"), KeyError("?")]
)
def test_a_job_cancelled_in_a_step_stays_cancelled_however_the_step_ends(bench, fault):
    job_id = bench.submit_series()

    def cancelled_meanwhile(*_arguments, **_named):
        cancel_job(bench.database, bench.jobs, job_id)
        raise fault

    bench.client.check_contract = cancelled_meanwhile
    try:
        bench.jobs.run_next()
    except KeyError:
        assert isinstance(fault, KeyError)

    assert bench.job(job_id).state == "cancelled"
    assert not bench.jobs.waiting


def test_a_repeated_analysis_makes_the_same_objects(bench):
    job_id = bench.submit_series()
    bench.jobs.run_all()
    first = {path.name: path.read_bytes() for path in bench.results.rglob("*.dcm")}

    # As after a crash before the last step was recorded.
    bench.jobs.workflows["analyze"](job_id, 1)

    folder = bench.outbox.path(bench.job(job_id).files["sr.dcm"]).parent
    assert {name: (folder / name).read_bytes() for name in first} == first


def test_a_repeated_hand_over_does_not_forget_what_was_delivered(bench):
    job_id = bench.submit_series()
    bench.jobs.run_all()

    bench.jobs.workflows["analyze"](job_id, 1)

    assert not bench.jobs.waiting
    assert bench.delivery(job_id).state == "delivered"


def test_a_repeated_delivery_sends_nothing_again(bench, pacs):
    bench.config.destinations["results"] = pacs.destination
    bench.build()
    job_id = bench.submit_series()
    bench.jobs.run_all()

    assert bench.jobs.workflows["deliver"](job_id, "results", 1) == "delivered"

    assert len(pacs.uids()) == 2
    assert pacs.attempts == 2


def test_a_delivery_that_can_succeed_later_is_tried_again_with_longer_waits(bench):
    bench.results.write_text("a file where the folder should be")
    job_id = bench.submit_series()
    assert bench.jobs.run_next() == "done"

    assert bench.jobs.run_next() == "again"
    assert (bench.delivery(job_id).state, bench.delivery(job_id).attempts) == ("pending", 1)
    assert bench.jobs.run_next() == "again"
    bench.results.unlink()
    assert bench.jobs.run_next() == "delivered"

    delays = [bench.jobs.delays[f"{job_id}:to:results:{number}"] for number in (1, 2, 3)]
    assert delays == [0, 10, 20]
    assert bench.arrived() == ["seg.dcm", "sr.dcm"]


def test_a_delivery_is_parked_after_its_attempts(bench):
    bench.results.write_text("a file where the folder should be")
    job_id = bench.submit_series()
    bench.jobs.run_all()

    delivery = bench.delivery(job_id)
    assert (delivery.state, delivery.attempts) == ("parked", 3)
    assert "cannot be written" in delivery.words
    assert bench.job(job_id).state == "done"


def test_a_destination_that_takes_the_sr_alone_gets_the_sr_alone(bench):
    wanted = bench.config.destinations["results"].model_copy(update={"objects": ("sr",)})
    bench.build(destinations={"results": wanted})
    bench.submit_series()
    bench.jobs.run_all()

    assert bench.arrived() == ["sr.dcm"]


def test_a_destination_that_is_not_configured_any_more_parks_its_delivery(bench):
    job_id = bench.submit_series()
    bench.jobs.run_next()
    bench.build(destinations={})

    assert bench.jobs.run_next() == "parked"

    assert bench.delivery(job_id).words == "no destination 'results' is configured for this job"


def test_a_result_that_is_gone_parks_the_delivery_and_says_so(bench):
    job_id = bench.submit_series()
    bench.jobs.run_next()
    bench.outbox.path(bench.job(job_id).files["seg.dcm"]).unlink()

    assert bench.jobs.run_next() == "parked"

    delivery = bench.delivery(job_id)
    assert delivery.state == "parked"
    assert "seg.dcm" in delivery.words


def test_a_pipeline_that_is_not_configured_any_more_fails_its_jobs_in_words(bench):
    job_id = bench.submit_series()
    bench.build(setups={})

    assert bench.jobs.run_next() == "failed"

    assert bench.job(job_id).sentence == "pipeline 'chest' is not configured any more"


def test_a_pipeline_that_goes_between_results_and_hand_over_fails_its_jobs_too(bench, monkeypatch):
    job_id = bench.submit_series()
    write = analysis.write_results

    def and_then_it_is_gone(*arguments, **named):
        contents = write(*arguments, **named)
        bench.setups.clear()
        return contents

    monkeypatch.setattr(analysis, "write_results", and_then_it_is_gone)
    setups = dict(bench.setups)
    try:
        outcome = bench.jobs.run_next()
    finally:
        bench.setups.update(setups)

    assert outcome == "failed"
    assert bench.job(job_id).state == "failed"


def test_another_version_of_a_model_is_worth_another_analysis(bench):
    series = bench.receive(bench.make())
    first = bench.close(series)
    bench.jobs.run_all()
    setup = bench.setups["chest"]
    bench.setups["chest"] = replace(setup, version="chest-another")
    with bench.database.begin() as transaction:
        from dicomnode.database.tables import series as table

        transaction.execute(table.update().values(state="open"))

    second = bench.close(series)

    assert second is not None
    assert second != first


def test_an_unforeseen_fault_in_a_delivery_parks_it_without_its_text(bench, monkeypatch):
    def broken(*_arguments, **_named):
        raise KeyError("PHANTOM^CHEST")

    monkeypatch.setattr("dicomnode.pipeline.delivery.copy_to_folder", broken)
    job_id = bench.submit_series()
    bench.jobs.run_next()

    with pytest.raises(KeyError):
        bench.jobs.run_next()

    assert (bench.delivery(job_id).state, bench.delivery(job_id).words) == (
        "parked",
        "internal error",
    )
