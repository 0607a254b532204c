"""What an operator asks of jobs and tells them, by the commands, beside a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dicomnode.cli.main import app
from dicomnode.database.job_rows import list_deliveries, list_jobs
from tests.support.ct import make_series
from tests.support.pacs import FlakyPacs
from tests.support.workers import Crew, Spec, opened, receive, run_worker, wait_until


@pytest.fixture
def pacs() -> Iterator[FlakyPacs]:
    with FlakyPacs() as made:
        yield made


def run(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "--config", str(config)])


def states(config: Path) -> dict[str, str]:
    with opened(config) as (_settings, database), database.begin() as transaction:
        return {
            each.destination: each.state
            for job in list_jobs(transaction)
            for each in list_deliveries(transaction, job.id)
        }


def test_a_parked_delivery_is_shown_sent_elsewhere_retried_and_found(
    tmp_path: Path, pacs: FlakyPacs
):
    config = tmp_path / "dicomnode.toml"
    config.write_text(f"""
data_dir = "{tmp_path / "data"}"
[pipelines.plain]
ae_title = "PLAIN"
destinations = ["pacs"]
[destinations.pacs]
kind = "dimse"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs.port}
first_retry_seconds = 0.1
max_attempts = 2
[destinations.share]
kind = "folder"
path = "{tmp_path / "share"}"
objects = ["sr", "json"]
""")
    pacs.refuse(0xA701)
    with Crew() as crew:
        crew.add("one", run_worker, Spec(config=config, folder=tmp_path))
        uid = receive(config, make_series(tmp_path / "ct"), pipeline="plain")
        wait_until(lambda: states(config) == {"pacs": "parked"}, 30, "the delivery was parked")
        (found,) = json.loads(
            run(config, "jobs", "list", "--delivery", "parked", "--hours", "1", "--json").stdout
        )

        shown = run(config, "jobs", "show", found["id"]).stdout
        assert "step assemble: ended" in shown
        assert shown.count("Refused: Out of Resources") >= 4
        facts = json.loads(run(config, "jobs", "show", found["id"], "--json").stdout)
        assert [each["outcome"] for each in facts["attempts"]] == ["again", "parked"]
        assert [each["name"] for each in facts["steps"]] == [
            "assemble",
            "infer",
            "results",
            "hand_over",
        ]

        assert run(config, "jobs", "send", found["id"], "share").exit_code == 0
        wait_until(lambda: states(config)["share"] == "delivered", 20, "it was sent elsewhere")
        assert {each.name for each in (tmp_path / "share" / uid).iterdir()} == {
            "sr-without-seg.dcm",
            "findings.json",
        }

        pacs.accept()
        assert run(config, "jobs", "retry", found["id"]).exit_code == 0
        wait_until(lambda: states(config)["pacs"] == "delivered", 20, "it was delivered")

        # The PACS lost them: who asks by hand wants them sent.
        assert run(config, "jobs", "send", found["id"], "pacs").exit_code == 0
        wait_until(lambda: len(pacs.uids()) == 4, 20, "all was sent again")
        wait_until(lambda: states(config)["pacs"] == "delivered", 20, "it was delivered again")
        assert len(set(pacs.uids())) == 2

        wrong = run(config, "jobs", "send", found["id"], "nowhere")
        assert wrong.exit_code == 1
        assert run(config, "jobs", "dismiss", found["id"]).exit_code == 1
        assert run(config, "jobs", "list", "--pipeline", "other", "--json").stdout == "[]\n"
