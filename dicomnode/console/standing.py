"""What a node is asked at each scrape: rows under way, spool and disk, certificates, readiness."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from dicomnode import __version__
from dicomnode.certificates import expires_at
from dicomnode.config import Config, DimseDestination
from dicomnode.database import Database
from dicomnode.database.standing_rows import (
    UNSETTLED_DELIVERIES,
    UNSETTLED_JOBS,
    Standing,
    count_series,
    latest_instances,
    measure_instances,
    stand_of_deliveries,
    stand_of_jobs,
)
from dicomnode.errors import StateError
from dicomnode.metrics import standing
from dicomnode.metrics.standing import Ask, Samples, StandingCollector, StandingGauge
from dicomnode.spool.quarantine import Quarantine

_SPOOL_SECONDS: Final = 60.0
"""How long sums over all instances and the quarantine hold: the questions that take time."""

_Key = tuple[str, str]
_Values = dict[tuple[str, ...], float]
_Found = dict[StandingGauge, Samples]


def build_standing(
    config: Config,
    database: Database,
    quarantine: Quarantine,
    *,
    readiness: Callable[[], Mapping[str, str | None]],
) -> StandingCollector:
    """Return what is asked at each scrape.

    Parameters
    ----------
    config : Config
    database : Database
    quarantine : Quarantine
    readiness : callable
        Asks every component, or repeats what was said a moment ago.
    """
    return StandingCollector(
        {
            "database": lambda: _ask_database(config, database),
            "spool": _kept(lambda: _ask_spool(config, database)),
            # Apart: it may lie in a bucket, which can be away.
            "quarantine": _kept(lambda: {standing.QUARANTINE_OBJECTS: {(): quarantine.count()}}),
            "readiness": lambda: _ask_readiness(readiness()),
            "node": lambda: _ask_node(config),
        }
    )


def _ask_database(config: Config, database: Database) -> _Found:
    with database.begin() as transaction:
        series = count_series(transaction)
        latest = latest_instances(transaction)
        jobs = stand_of_jobs(transaction)
        deliveries = stand_of_deliveries(transaction)
    job_keys: list[_Key] = [(name, state) for name in config.pipelines for state in UNSETTLED_JOBS]
    delivery_keys: list[_Key] = [
        (name, state) for name in config.destinations for state in UNSETTLED_DELIVERIES
    ]
    series_keys: list[_Key] = [
        (name, state) for name in config.pipelines for state in ("open", "held")
    ]
    return {
        standing.SERIES: _zeros(series_keys) | {key: float(count) for key, count in series.items()},
        standing.LAST_INSTANCE: {(name,): at.timestamp() for name, at in latest.items()},
        standing.JOBS: _counts(job_keys, jobs),
        standing.JOB_AGE: _ages(job_keys, jobs),
        standing.DELIVERIES: _counts(delivery_keys, deliveries),
        standing.DELIVERY_AGE: _ages(delivery_keys, deliveries),
    }


def _counts(keys: list[_Key], found: Mapping[_Key, Standing]) -> _Values:
    return _zeros(keys) | {key: float(each.count) for key, each in found.items()}


def _zeros(keys: list[_Key]) -> _Values:
    zeros: _Values = dict.fromkeys(keys, 0.0)
    return zeros


def _ages(keys: list[_Key], found: Mapping[_Key, Standing]) -> _Values:
    now = datetime.now(UTC)
    return _zeros(keys) | {
        key: max(0.0, (now - each.oldest).total_seconds()) for key, each in found.items()
    }


def _ask_spool(config: Config, database: Database) -> _Found:
    with database.begin() as transaction:
        found = dict.fromkeys(config.pipelines, (0, 0)) | measure_instances(transaction)
    return {
        standing.SPOOL_INSTANCES: {(name,): count for name, (count, _) in found.items()},
        standing.SPOOL_BYTES: {(name,): size for name, (_, size) in found.items()},
    }


def _ask_readiness(readiness: Mapping[str, str | None]) -> _Found:
    return {standing.READY: {(name,): float(why is None) for name, why in readiness.items()}}


def _ask_node(config: Config) -> _Found:
    disk = shutil.disk_usage(config.data_dir)
    found: _Found = {
        standing.DISK_FREE: {(): disk.free},
        standing.DISK_SIZE: {(): disk.total},
        standing.DISK_RESERVE: {(): config.receive.reserve_bytes},
        standing.BUILD: {(__version__,): 1.0},
    }
    expiries: _Values = {}
    for section, path in _certificates(config):
        # One that cannot be read now is told by who uses it; the others are still worth knowing.
        with suppress(StateError):
            expiries[section,] = expires_at(path).timestamp()
    if expiries:
        found[standing.CERTIFICATE_EXPIRY] = expiries
    return found


def _certificates(config: Config) -> Iterator[tuple[str, Path]]:
    """Yield our own certificates with the sections that name them."""
    if config.receive.tls is not None and config.receive.tls.certificate is not None:
        yield "receive.tls", config.receive.tls.certificate
    for name, each in config.destinations.items():
        if (
            isinstance(each, DimseDestination)
            and each.tls is not None
            and each.tls.certificate is not None
        ):
            yield f"destinations.{name}.tls", each.tls.certificate
    if config.inference.tls is not None and config.inference.tls.cert_file is not None:
        yield "inference.tls", config.inference.tls.cert_file


def _kept(ask: Ask) -> Ask:
    """Return what asks seldom and repeats the answer meanwhile.  Called by one thread at a time."""
    answer: Mapping[StandingGauge, Samples] = {}
    asked_at = float("-inf")

    def answer_again() -> Mapping[StandingGauge, Samples]:
        nonlocal answer, asked_at
        if time.monotonic() - asked_at > _SPOOL_SECONDS:
            answer = ask()
            asked_at = time.monotonic()
        return answer

    return answer_again
