"""What the pages say, and what their forms do."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicomnode.database.decision_rows import record_decision
from dicomnode.database.delivery_rows import record_attempt
from dicomnode.database.job_rows import get_job
from dicomnode.database.series_rows import hold_series
from dicomnode.model.selection import Decision, RuleOutcome
from tests.support.console import (
    JOB,
    Browser,
    make_client,
    make_config,
    make_parts,
    record_job,
    record_series,
)
from tests.support.ct import make_series
from tests.support.deliveries import set_delivery

START = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def shown(page):
    """The series that a page lists, in its order."""
    return re.findall(r'href="/series/([0-9.]+)"', page.text)


@pytest.fixture
def many(database):
    """120 series, one a minute, by two senders; every third has a job that is done."""
    for number in range(120):
        record_series(
            database,
            f"1.2.{number:03d}",
            calling_ae_title="CT1" if number % 2 else "CT2",
            at=START + timedelta(minutes=number),
        )
        if number % 3 == 0:
            record_job(database, f"1.2.{number:03d}", job_id=f"job-{number:03d}", state="done")


@pytest.mark.usefixtures("many")
def test_the_list_is_paged_the_latest_first(client):
    pages = [client.get(f"/?page={number}") for number in (1, 2, 3)]

    assert [len(shown(each)) for each in pages] == [50, 50, 20]
    assert shown(pages[0])[0] == "1.2.119"
    assert shown(pages[2])[-1] == "1.2.000"
    assert "Newer" not in pages[0].text
    assert "Older" not in pages[2].text


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=done", 40),
        ("state=receiving", 50),
        ("sender=CT1&state=done", 20),
        ("pipeline=other", 0),
        ("q=1.2.11", 10),
        ("q=1.2.117.1", 1),
        ("q=job-117", 1),
        ("q=%25", 0),
        ("q=1_2_117", 0),
        ("q=%3Cscript%3E", 0),
        ("hours=1", 0),
        ("hours=rubbish", 50),
        ("state=attention", 0),
    ],
)
def test_the_list_is_chosen_and_searched(client, query, count):
    assert len(shown(client.get(f"/?{query}"))) == count


@pytest.mark.usefixtures("many")
def test_what_was_chosen_stays_so_on_the_next_page(client):
    page = client.get("/?state=receiving&sender=CT1")

    assert '<option value="receiving" selected>' in page.text
    assert "<option selected>CT1</option>" in page.text


@pytest.mark.usefixtures("job")
def test_what_needs_a_person_is_found_in_one_step(client, database):
    record_series(database, "1.2.4")
    record_series(database, "1.2.5")
    with database.begin() as transaction:
        hold_series(transaction, "chest", "1.2.5", because="deadline")

    assert set(shown(client.get("/?state=attention"))) == {"1.2.3", "1.2.5"}


def test_a_component_that_is_not_ready_is_told_on_the_first_page(client, components):
    components["inference"] = "the server is <away>"

    page = client.get("/").text

    assert "inference is not ready" in page
    assert "the server is &lt;away&gt;" in page


@pytest.mark.usefixtures("job")
def test_a_series_says_what_came_what_was_decided_and_what_was_done(client, database):
    with database.begin() as transaction:
        record_decision(
            transaction,
            "chest",
            "1.2.3",
            1,
            Decision(
                outcomes=(RuleOutcome(rule="plane", wanted="axial", found="coronal", passed=False),)
            ),
        )

    page = client.get("/series/1.2.3").text

    for words in (
        "CT1",
        "1 \N{MULTIPLICATION SIGN} CT Image Storage",
        "1 \N{MULTIPLICATION SIGN} Explicit VR Little Endian",
        "closed as revision 1 because no instance had come for the quiet time",
        "not selected",
        "coronal",
        "Wanted &lt;INT16&gt; &amp; found FP32.",
        "ModelContractMismatch",
        "1.2 s",
        "0xA900 Error: Data Set does not match SOP Class",
        "Attempt 8",
    ):
        assert words in page, words


def test_a_series_that_nobody_sent_is_not_found(client):
    answer = client.get("/series/9.9")

    assert answer.status_code == 404
    assert "No such series was received." in answer.text


def test_results_lead_to_the_picture(client, database):
    record_job(database, state="done", files={"seg.dcm": "outbox/x/seg.dcm"})

    page = client.get("/series/1.2.3").text

    assert f'href="/jobs/{JOB}/view"' in page
    assert "pruned" in page


@pytest.mark.parametrize(
    ("state", "offered"),
    [
        ("failed", {"retry", "dismiss"}),
        ("running", {"cancel"}),
        ("cancelled", {"retry"}),
        ("not_selected", {"retry"}),
        ("done", set()),
    ],
)
def test_only_what_can_be_done_is_offered(client, database, state, offered):
    record_job(database, state=state)

    page = client.get("/series/1.2.3").text

    assert set(re.findall(rf'action="/jobs/{JOB}/(\w+)"', page)) == offered


@pytest.mark.parametrize(
    ("before", "action", "after"),
    [
        ("failed", "retry", "queued"),
        ("running", "cancel", "cancelled"),
        ("failed", "dismiss", "cancelled"),
    ],
)
def test_an_operator_acts_from_the_page(parts, before, action, after):
    record_job(parts.database, state=before)
    browser = Browser(parts)
    page = browser.get("/series/1.2.3")

    answer = browser.submit(f"/jobs/{JOB}/{action}", page)

    assert answer.headers["location"] == f"/series/1.2.3?done={action}"
    assert 'role="status"' in browser.get(answer.headers["location"]).text
    with parts.database.begin() as transaction:
        assert get_job(transaction, JOB).state == after


def test_results_are_sent_again_from_the_page(parts):
    record_job(parts.database, state="done", files={"seg.dcm": "outbox/x/seg.dcm"})
    browser = Browser(parts)

    answer = browser.submit(f"/jobs/{JOB}/send", browser.get("/series/1.2.3"), destination="share")

    assert answer.status_code == 303
    [delivery] = browser.get(f"/api/v1/jobs/{JOB}").json()["deliveries"]
    assert (delivery["destination"], delivery["state"]) == ("share", "pending")


def test_an_act_that_the_state_does_not_admit_says_so(parts):
    record_job(parts.database, state="done")
    browser = Browser(parts)

    answer = browser.submit(f"/jobs/{JOB}/retry", browser.get("/pipelines"))

    assert answer.status_code == 409
    assert "nothing to retry" in answer.text


def test_a_held_series_is_analyzed_on_an_operators_word(parts):
    record_series(parts.database)
    with parts.database.begin() as transaction:
        hold_series(transaction, "chest", "1.2.3", because="deadline")
    browser = Browser(parts)
    page = browser.get("/series/1.2.3")
    assert "the deadline after its first instance had passed" in page.text

    browser.submit("/series/1.2.3/proceed", page)

    [series] = browser.get("/api/v1/series").json()
    assert series["state"] == "open"
    assert browser.submit("/series/1.2.3/proceed", page).status_code == 409


@pytest.fixture
def quarantined(parts, tmp_path):
    path = make_series(tmp_path / "ct")[0]
    facts = {"pipeline": "chest", "calling_ae_title": "CT1", "host": "192.0.2.7"}
    copy = parts.config.data_dir / "odd.dcm"
    copy.write_bytes(path.read_bytes())
    return parts.quarantine.take(copy, reason="the data set <ended> early", facts=facts)


def test_the_quarantine_says_why_and_from_whom(client, quarantined):
    page = client.get("/quarantine").text

    assert "the data set &lt;ended&gt; early" in page
    assert "192.0.2.7" in page
    assert f"/quarantine/{quarantined}/release" in page


def test_an_operator_releases_from_quarantine(parts, quarantined):
    browser = Browser(parts)

    answer = browser.submit(f"/quarantine/{quarantined}/release", browser.get("/quarantine"))

    assert answer.headers["location"] == "/quarantine?released=yes"
    [series] = browser.get("/api/v1/series").json()
    assert (series["pipeline"], series["instance_count"]) == ("chest", 1)


def test_the_pipelines_page_shows_models_and_destinations(tmp_path, stack):
    models = {"lung": None, "opacities": "wanted FP32 <and> found INT16"}
    parts = make_parts(make_config(tmp_path), stack, models=models)
    record_job(parts.database, state="done")
    with parts.database.begin() as transaction:
        set_delivery(transaction, JOB, "share", state="delivered", attempts=1, words="written")
        record_attempt(
            transaction,
            JOB,
            "share",
            1,
            outcome="delivered",
            words="written",
            objects=[],
            seconds=1,
        )

    page = make_client(parts).get("/pipelines").text

    for words in (
        "CHEST",
        "lung_segmentation",
        "wanted FP32 &lt;and&gt; found INT16",
        "asked by workers alone",
        "delivered",
        "never",
        str(tmp_path / "share"),
    ):
        assert words in page, words


def test_a_folder_is_tested_by_writing_into_it(parts, tmp_path):
    browser = Browser(parts)
    answer = browser.submit("/destinations/share/test", browser.get("/pipelines"))

    assert answer.headers["location"] == "/pipelines?tested=share#destinations"
    assert "share: can be written" in browser.get("/pipelines?tested=share").text
    assert list((tmp_path / "share").iterdir()) == [], "nothing is left there"


def test_a_folder_that_cannot_be_written_says_so(parts, tmp_path):
    (tmp_path / "share").write_text("a file where a folder should be")
    browser = Browser(parts)

    browser.submit("/destinations/share/test", browser.get("/pipelines"))

    [found] = browser.get("/api/v1/destinations").json()
    assert found["last_check"]["is_ok"] is False
    assert "cannot be written" in found["last_check"]["words"]


def test_texts_on_the_dark_ground_are_easy_to_read():
    """WCAG 2.1, 1.4.3 and 1.4.11: 4.5:1 for text, 3:1 for controls and focus."""
    css = Path(__file__).parents[3] / "dicomnode" / "console" / "static" / "console.css"
    colors = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css.read_text()))

    def luminance(color):
        parts = [int(color[begin : begin + 2], 16) / 255 for begin in (1, 3, 5)]
        linear = [
            each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
        ]
        return sum(
            weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
        )

    def contrast(one, other):
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    for ground in (colors["ground"], colors["raised"]):
        for text in ("text", "quiet", "link", "good", "busy", "bad"):
            assert contrast(colors[text], ground) >= 4.5, text
        for control in ("line-strong", "focus"):
            assert contrast(colors[control], ground) >= 3, control
