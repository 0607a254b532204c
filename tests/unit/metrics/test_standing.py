"""What is asked at a scrape: once, with a deadline, and one that is late hurts no other."""

import threading

from prometheus_client import CollectorRegistry

from dicomnode.metrics import standing
from dicomnode.metrics.standing import StandingCollector


def scrape(collector):
    """Sample name and labels -> value."""
    registry = CollectorRegistry()
    registry.register(collector)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in registry.collect()
        for sample in family.samples
    }


def test_what_is_answered_is_given_with_its_labels():
    found = scrape(
        StandingCollector({"database": lambda: {standing.JOBS: {("chest", "failed"): 3.0}}})
    )

    assert found["dicomnode_jobs", "chest", "failed"] == 3
    assert found["dicomnode_standing_answered", "database"] == 1
    assert found["dicomnode_standing_ask_seconds", "database"] < 5


def test_each_source_is_asked_once_a_scrape_and_not_before():
    asked = []
    collector = StandingCollector({"node": lambda: asked.append(1) or {}})
    registry = CollectorRegistry()
    registry.register(collector)
    before = len(asked)

    list(registry.collect())

    assert (before, len(asked)) == (0, 1)


def test_a_source_that_hangs_or_fails_is_missing_and_said_to_be():
    release = threading.Event()

    def fail():
        raise OSError("gone")

    found = scrape(
        StandingCollector(
            {
                "database": lambda: release.wait(10) and {},
                "spool": fail,
                "node": lambda: {standing.DISK_FREE: {(): 5.0}},
            },
            deadline_seconds=0.1,
        )
    )
    release.set()

    assert found["dicomnode_disk_free_bytes",] == 5
    assert [
        found["dicomnode_standing_answered", each] for each in ("database", "spool", "node")
    ] == [0, 0, 1]


def test_a_source_that_hangs_is_not_asked_again_at_each_scrape():
    release, asked = threading.Event(), []
    collector = StandingCollector(
        {"database": lambda: asked.append(1) or (release.wait(10) and {})}, deadline_seconds=0.02
    )

    for _ in range(3):
        scrape(collector)
    release.set()

    assert len(asked) == 1
