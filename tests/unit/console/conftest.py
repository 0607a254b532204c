"""A console over a database and a spool of its own, with series, jobs and deliveries on record."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from dicomnode.database.delivery_rows import record_attempt
from tests.support.console import JOB, make_client, make_config, make_parts, record_job
from tests.support.deliveries import set_delivery


@pytest.fixture
def components():
    return {"receive": None, "database": None, "inference": None}


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def parts(tmp_path, stack, components):
    return make_parts(make_config(tmp_path), stack, components=components)


@pytest.fixture
def database(parts):
    return parts.database


@pytest.fixture
def client(parts):
    return make_client(parts)


@pytest.fixture
def job(database):
    """A closed series with a failed job and a parked delivery."""
    record_job(
        database,
        state="failed",
        reason="ModelContractMismatch",
        sentence="wanted <INT16> & found FP32",
        seconds={"assemble": 1.25, "segment": 2.5},
    )
    with database.begin() as transaction:
        set_delivery(
            transaction, JOB, "share", state="parked", attempts=8, words="seg.dcm: 0xA900 <refused>"
        )
        record_attempt(
            transaction,
            JOB,
            "share",
            8,
            outcome="parked",
            words="seg.dcm: 0xA900 <refused>",
            objects=[
                {
                    "file": "seg.dcm",
                    "sop_instance_uid": "1.9",
                    "status": 0xA900,
                    "words": "",
                    "accepted": False,
                }
            ],
            seconds=0.25,
        )
    return JOB
