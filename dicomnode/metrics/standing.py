"""How things stand, asked once when somebody scrapes.  What is asked comes from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dicomnode.deadlines import Question

Samples = Mapping[tuple[str, ...], float]
"""Values of a gauge by its labels' values, in order."""


@dataclass(frozen=True, slots=True)
class StandingGauge:
    """A gauge whose values are asked for."""

    name: str
    documentation: str
    labels: tuple[str, ...] = ()


SERIES: Final = StandingGauge(
    "dicomnode_series", "Series that are open, or held until somebody says.", ("pipeline", "state")
)
LAST_INSTANCE: Final = StandingGauge(
    "dicomnode_last_instance_timestamp_seconds",
    "When the latest instance came, in Unix time.",
    ("pipeline",),
)
JOBS: Final = StandingGauge(
    "dicomnode_jobs",
    "Analyses that are queued, running or waiting, and failed ones that nobody has settled.",
    ("pipeline", "state"),
)
JOB_AGE: Final = StandingGauge(
    "dicomnode_job_oldest_seconds", "Age of the oldest such analysis.", ("pipeline", "state")
)
DELIVERIES: Final = StandingGauge(
    "dicomnode_deliveries",
    "Deliveries that are pending, committing (waiting for commitment) or parked.",
    ("destination", "state"),
)
DELIVERY_AGE: Final = StandingGauge(
    "dicomnode_delivery_oldest_seconds",
    "Time since the results of the oldest such delivery were made.",
    ("destination", "state"),
)
SPOOL_INSTANCES: Final = StandingGauge(
    "dicomnode_spool_instances", "Instances that are stored.", ("pipeline",)
)
SPOOL_BYTES: Final = StandingGauge(
    "dicomnode_spool_bytes", "Bytes of the data sets that are stored.", ("pipeline",)
)
QUARANTINE_OBJECTS: Final = StandingGauge(
    "dicomnode_quarantine_objects", "Objects that lie in the quarantine."
)
DISK_FREE: Final = StandingGauge(
    "dicomnode_disk_free_bytes", "Free space on the disk of the data folder."
)
DISK_SIZE: Final = StandingGauge("dicomnode_disk_size_bytes", "Size of that disk.")
DISK_RESERVE: Final = StandingGauge(
    "dicomnode_disk_reserve_bytes", "Free space below which instances are refused."
)
CERTIFICATE_EXPIRY: Final = StandingGauge(
    "dicomnode_certificate_expiry_timestamp_seconds",
    "When a certificate of ours expires, in Unix time, by the section that names it.",
    ("section",),
)
READY: Final = StandingGauge(
    "dicomnode_component_ready",
    "1 for a component of this process that is ready, else 0.",
    ("component",),
)
BUILD: Final = StandingGauge("dicomnode_build_info", "1; the version that runs.", ("version",))

GAUGES: Final = (
    SERIES,
    LAST_INSTANCE,
    JOBS,
    JOB_AGE,
    DELIVERIES,
    DELIVERY_AGE,
    SPOOL_INSTANCES,
    SPOOL_BYTES,
    QUARANTINE_OBJECTS,
    DISK_FREE,
    DISK_SIZE,
    DISK_RESERVE,
    CERTIFICATE_EXPIRY,
    READY,
    BUILD,
)

ANSWERED: Final = StandingGauge(
    "dicomnode_standing_answered",
    "1 if what is asked at each scrape was answered in time; else its gauges are missing.",
    ("source",),
)
ASK_SECONDS: Final = StandingGauge(
    "dicomnode_standing_ask_seconds", "Time until the answer at this scrape.", ("source",)
)

_DEADLINE_SECONDS: Final = 4.0
"""Prometheus waits for ten by default."""

Ask = Callable[[], Mapping[StandingGauge, Samples]]


class StandingCollector(Collector):
    """Asks every source once a scrape, with a deadline; one that is late hurts no other.

    Parameters
    ----------
    sources : mapping of str to callable
        By name; no two give values for one gauge.
    deadline_seconds : float
        For all of them together.
    """

    def __init__(
        self, sources: Mapping[str, Ask], *, deadline_seconds: float = _DEADLINE_SECONDS
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._questions = {
            name: Question(ask, name=f"scrape-{name}") for name, ask in sources.items()
        }

    def describe(self) -> Iterable[Metric]:
        """Name what `collect` may give, without asking."""
        return [_family(each, {}) for each in (*GAUGES, ANSWERED, ASK_SECONDS)]

    def collect(self) -> Iterable[Metric]:
        """Ask all at once, and give what was answered in time."""
        begin = perf_counter()
        asked = {name: question.begin() for name, question in self._questions.items()}
        answered: dict[tuple[str, ...], float] = {}
        seconds: dict[tuple[str, ...], float] = {}
        found: dict[StandingGauge, Samples] = {}
        for name, answer in asked.items():
            left = max(0.0, begin + self._deadline_seconds - perf_counter())
            try:
                found.update(answer.result(left))
                answered[name,] = 1
            except Exception:  # noqa: BLE001 - the scrape goes on; the gauge says it, readiness why
                answered[name,] = 0
            seconds[name,] = perf_counter() - begin
        yield from (_family(gauge, samples) for gauge, samples in found.items())
        yield _family(ANSWERED, answered)
        yield _family(ASK_SECONDS, seconds)


def _family(gauge: StandingGauge, samples: Samples) -> Metric:
    family = GaugeMetricFamily(gauge.name, gauge.documentation, labels=gauge.labels)
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family
