"""What stands for an object that a destination refuses for good."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicomnode.config import DimseDestination
from dicomnode.database.job_rows import JobRow
from dicomnode.errors import SendError
from dicomnode.pipeline.parcels import fall_back, make_plan, open_parcel
from dicomnode.send.outcome import StoreOutcome
from dicomnode.spool.results import Outbox

FILES = ("seg.dcm", "sr.dcm", "sr-without-seg.dcm", "sc-1.dcm", "sc-2.dcm", "findings.json")


def job(*files):
    now = datetime(2026, 11, 23, tzinfo=UTC)
    return JobRow(
        id="j",
        pipeline="chest",
        series_instance_uid="1.2",
        revision=1,
        digest="0" * 16,
        state="done",
        attempt=1,
        stage="results",
        runner=None,
        reason=None,
        sentence=None,
        seconds={},
        files={name: f"outbox/j/{name}" for name in files},
        models=[],
        created_at=now,
        updated_at=now,
    )


def destination(*fallback, objects=("seg", "sr")):
    return DimseDestination(
        kind="dimse",
        ae_title="PACS",
        host="127.0.0.1",
        port=104,
        calling_ae_title=None,
        objects=objects,
        fallback=fallback,
    )


def told(plan, name, *, accepted):
    plan.outcomes[name] = StoreOutcome(
        sop_instance_uid="1.2.3",
        path=Path(name),
        status=0 if accepted else 0xA900,
        words="told",
        accepted=accepted,
        transient=False,
    )


def test_where_the_seg_is_refused_the_report_is_one_that_does_not_refer_to_it():
    taker = destination("sr")
    plan = make_plan(job(*FILES), taker, [])
    told(plan, "seg.dcm", accepted=False)

    fall_back(plan, "seg.dcm", taker, job(*FILES))

    assert plan.names() == ("sr-without-seg.dcm",)
    assert not plan.is_complete()
    told(plan, "sr-without-seg.dcm", accepted=True)
    assert plan.is_complete()


def test_a_report_that_was_taken_before_is_not_sent_twice_in_two_forms():
    taker = destination("sr")
    plan = make_plan(job(*FILES), taker, [])
    told(plan, "sr.dcm", accepted=True)
    told(plan, "seg.dcm", accepted=False)

    fall_back(plan, "seg.dcm", taker, job(*FILES))

    assert plan.names() == ("sr.dcm",)
    assert plan.is_complete()


def test_results_older_than_that_report_have_the_one_there_is():
    taker = destination("sr", objects=("seg",))
    plan = make_plan(job("seg.dcm", "sr.dcm"), taker, [])
    told(plan, "seg.dcm", accepted=False)

    fall_back(plan, "seg.dcm", taker, job("seg.dcm", "sr.dcm"))

    assert plan.names() == ("sr.dcm",)


def test_a_simpler_report_is_made_of_the_report_that_was_refused():
    taker = destination("sr", "comprehensive-sr", "enhanced-sr")
    plan = make_plan(job(*FILES), taker, [])
    for refused in (
        "seg.dcm",
        "sr-without-seg.dcm",
        "comprehensive-sr-without-seg.dcm",
    ):
        told(plan, refused, accepted=False)
        fall_back(plan, refused, taker, job(*FILES))

    assert plan.names() == ("enhanced-sr-without-seg.dcm",)


@pytest.mark.parametrize(
    ("fallback", "instead"),
    [
        (("sc",), ("sc-1.dcm", "sc-2.dcm", "sr.dcm")),
        (("sr", "sc"), ("sr-without-seg.dcm", "sc-1.dcm", "sc-2.dcm")),
        ((), ("seg.dcm", "sr.dcm")),
    ],
)
def test_a_seg_gives_way_to_what_is_allowed_only(fallback, instead):
    taker = destination(*fallback)
    plan = make_plan(job(*FILES), taker, [])
    told(plan, "seg.dcm", accepted=False)

    fall_back(plan, "seg.dcm", taker, job(*FILES))

    assert plan.names() == instead


def test_fallbacks_of_earlier_attempts_are_kept():
    taker = destination("sr")
    plan = make_plan(job(*FILES), taker, [])
    told(plan, "seg.dcm", accepted=False)
    fall_back(plan, "seg.dcm", taker, job(*FILES))

    class Earlier:
        objects = plan.records()

    assert make_plan(job(*FILES), taker, [Earlier]).names() == ("sr-without-seg.dcm",)


def test_a_report_that_is_gone_makes_no_simpler_one(tmp_path):
    outbox = Outbox(tmp_path)

    with pytest.raises(SendError, match=r"comprehensive-sr\.dcm cannot be made"):
        open_parcel(outbox, job("sr.dcm"), "comprehensive-sr.dcm")


def test_a_report_that_is_no_report_makes_no_simpler_one(tmp_path):
    (tmp_path / "outbox" / "j").mkdir(parents=True)
    (tmp_path / "outbox" / "j" / "sr.dcm").write_bytes(b"something else")

    with pytest.raises(SendError, match=r"comprehensive-sr\.dcm cannot be made"):
        open_parcel(Outbox(tmp_path), job("sr.dcm"), "comprehensive-sr.dcm")
