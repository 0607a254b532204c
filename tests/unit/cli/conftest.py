"""Running commands in this process, and a data folder that a node has worked with."""

from __future__ import annotations

import json
import logging
import socket
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import structlog
from typer.testing import CliRunner

from dicomnode.cli.main import app
from dicomnode.database import open_database
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.database.series_rows import close_series, record_instance
from dicomnode.model.instance import InstanceRef
from dicomnode.spool.quarantine import Quarantine
from tests.support.deliveries import set_delivery

SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.179049373636438705059720603192"


@dataclass(frozen=True)
class Prepared:
    config: str
    series: str
    job: str
    quarantined: str


@pytest.fixture
def _log_settings():
    """Set the log back: commands lead it to streams that are gone when they have ended."""
    named = [
        each
        for each in (logging.root, *logging.root.manager.loggerDict.values())
        if isinstance(each, logging.Logger)
    ]
    kept = [(each, each.handlers[:], each.level, each.propagate) for each in named]
    yield
    structlog.reset_defaults()
    for each, handlers, level, propagate in kept:
        each.handlers[:], each.propagate = handlers, propagate
        each.setLevel(level)


@pytest.fixture
def run(monkeypatch, tmp_path, _log_settings):
    """Run ``dicomnode`` with arguments; `exit_code`, `stdout` and `stderr` tell how it ended."""
    monkeypatch.chdir(tmp_path)
    for name in ("DICOMNODE_CONFIG", "DICOMNODE_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    runner = CliRunner()

    def command(*arguments):
        return runner.invoke(app, [str(each) for each in arguments], catch_exceptions=False)

    return command


@pytest.fixture
def config(tmp_path):
    """Write a configuration and return its path."""

    def write(**tables):
        lines = [f"data_dir = {json.dumps(str(tmp_path / 'data'))}"]
        for name, values in tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        path = tmp_path / "node.toml"
        path.write_text("\n".join(lines))
        return path

    return write


@pytest.fixture
def prepared(tmp_path, config):
    """One series, its failed job with a parked delivery, one object in quarantine."""
    database = open_database("sqlite", data_dir=tmp_path / "data")
    with database.begin() as transaction:
        record_instance(
            transaction,
            "chest",
            InstanceRef(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                sop_instance_uid="1.2.3.1",
                study_instance_uid="1.2",
                series_instance_uid=SERIES,
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                digest="a" * 64,
                size_bytes=1,
                key=f"instances/chest/{SERIES}/1.dcm",
            ),
            calling_ae_title="CT1",
            at=datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC),
        )
        revision = close_series(transaction, "chest", SERIES, because="quiet")
        job = revision.job_id("chest-0123abcd")
        create_job(transaction, job, revision)
        set_job(
            transaction,
            job,
            state="failed",
            reason="ModelContractMismatch",
            sentence="wanted [int16], found [/FP32]",
            seconds={"assemble": 1.25},
            files={"sr.dcm": "outbox/x/sr.dcm"},
        )
        set_delivery(transaction, job, "pacs", state="parked", attempts=8, words="no answer")
    database.close()
    quarantined = Quarantine(tmp_path / "data").keep(
        b"no DICOM", reason="the data set cannot be read", facts={"calling_ae_title": "CT1"}
    )
    return Prepared(str(config()), SERIES, job, quarantined)


@pytest.fixture
def nobody():
    """An address where nothing listens, and nothing else can begin to."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"PACS@127.0.0.1:{bound.getsockname()[1]}"
