"""What a node tells of how it stands, for scrapers."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry

from dicomnode.console.standing import build_standing
from dicomnode.database.job_rows import create_job, set_job
from dicomnode.model.series import SeriesRevision
from tests.support.certificates import Authority
from tests.support.console import make_config, make_parts
from tests.support.deliveries import set_delivery


@pytest.fixture
def parts(tmp_path):
    with ExitStack() as stack:
        yield make_parts(make_config(tmp_path), stack)


@pytest.fixture
def scrape(parts):
    """Scrape once; gives sample name and labels -> value."""

    def collect(config=None, readiness=dict):
        registry = CollectorRegistry()
        registry.register(
            build_standing(
                config or parts.config, parts.database, parts.quarantine, readiness=readiness
            )
        )
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in registry.collect()
            for sample in family.samples
        }

    return collect


def test_a_fresh_node_has_zeros_for_all_that_is_configured(scrape):
    found = scrape()

    for name in ("queued", "running", "waiting", "failed"):
        assert found["dicomnode_jobs", "chest", name] == 0
        assert found["dicomnode_job_oldest_seconds", "chest", name] == 0
    for name in ("pending", "committing", "parked"):
        assert found["dicomnode_deliveries", "share", name] == 0
    assert found["dicomnode_series", "chest", "held"] == 0
    assert found["dicomnode_spool_bytes", "chest"] == 0
    assert found["dicomnode_quarantine_objects",] == 0
    assert ("dicomnode_last_instance_timestamp_seconds", "chest") not in found


def test_what_is_under_way_is_told_with_its_age(scrape, parts):
    revision = SeriesRevision(
        pipeline="chest", series_instance_uid="1.2.3", revision=1, digest="0" * 16
    )
    made = datetime.now(UTC) - timedelta(minutes=10)
    with parts.database.begin() as transaction:
        create_job(transaction, "1.2.3:x", revision)
        set_job(transaction, "1.2.3:x", state="failed", created_at=made)
        set_delivery(transaction, "1.2.3:x", "share", state="parked", attempts=8, words=None)

    found = scrape()

    assert found["dicomnode_jobs", "chest", "failed"] == 1
    assert 600 <= found["dicomnode_job_oldest_seconds", "chest", "failed"] < 660
    assert found["dicomnode_deliveries", "share", "parked"] == 1
    assert 600 <= found["dicomnode_delivery_oldest_seconds", "share", "parked"] < 660


def test_a_job_of_a_pipeline_that_is_gone_is_told_all_the_same(scrape, parts):
    revision = SeriesRevision(
        pipeline="former", series_instance_uid="1.2.3", revision=1, digest="0" * 16
    )
    with parts.database.begin() as transaction:
        create_job(transaction, "1.2.3:x", revision)

    assert scrape()["dicomnode_jobs", "former", "queued"] == 1


def test_components_are_ready_or_not(scrape):
    found = scrape(readiness=lambda: {"database": None, "inference": "waiting for lung"})

    assert found["dicomnode_component_ready", "database"] == 1
    assert found["dicomnode_component_ready", "inference"] == 0


def test_disk_and_quarantine_are_measured(scrape, parts):
    parts.quarantine.keep(b"1", reason="no", facts={"pipeline": "chest"})
    parts.quarantine.keep(b"2", reason="no", facts={"pipeline": "chest"})

    found = scrape()

    assert found["dicomnode_quarantine_objects",] == 2
    assert 0 < found["dicomnode_disk_free_bytes",] <= found["dicomnode_disk_size_bytes",]
    assert found["dicomnode_disk_reserve_bytes",] == 0


def test_certificates_are_told_by_the_section_that_names_them(scrape, parts, tmp_path):
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("node", days=3)
    tls = {
        "certificate": pair.certificate,
        "key": pair.key,
        "authorities": authority.certificate,
    }
    receive = parts.config.receive.model_dump() | {"tls": tls}
    away = {"tls": tls | {"certificate": tmp_path / "absent.crt"}}
    pacs = {"kind": "dimse", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}
    config = type(parts.config).model_validate(
        parts.config.model_dump()
        | {"receive": receive}
        | {"destinations": parts.config.model_dump()["destinations"] | {"pacs": pacs | away}}
    )

    found = scrape(config)

    left = found["dicomnode_certificate_expiry_timestamp_seconds", "receive.tls"]
    assert 2 * 86400 < left - datetime.now(UTC).timestamp() < 3 * 86400 + 60
    assert ("dicomnode_certificate_expiry_timestamp_seconds", "destinations.pacs.tls") not in found
    assert found["dicomnode_standing_answered", "node"] == 1


def test_a_database_that_is_away_leaves_the_rest(scrape, parts):
    parts.database.close()
    parts.database.engine.pool._creator = None

    found = scrape()

    assert found["dicomnode_standing_answered", "database"] == 0
    assert found["dicomnode_standing_answered", "node"] == 1
    assert ("dicomnode_jobs", "chest", "queued") not in found
