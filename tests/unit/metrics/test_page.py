"""The page that is scraped: of one process, and of one with children."""

import os
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicomnode import metrics
from dicomnode.metrics.page import Page, Shared

CHILD = """
from dicomnode import metrics
metrics.INSTANCES.labels("shared-test", "0000").inc({count})
metrics.ASSOCIATIONS_OPEN.labels("shared-test").inc({opened})
metrics.STORE_SECONDS.labels("shared-test").observe(0.004)
metrics.STORE_SECONDS.labels("shared-test").observe(3)
print("counted", flush=True)
input()
"""


@pytest.fixture
def shared(tmp_path):
    return Shared(tmp_path / "metrics")


@pytest.fixture
def child(shared):
    started = []

    def start(*, count=1, opened=0):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(count=count, opened=opened)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | shared.environment,
        )
        assert process.stdout.readline() == b"counted\n"
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def read(page):
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page.render().decode())
        for sample in family.samples
    }


def test_what_children_count_is_added_to_what_is_counted_here(shared, child):
    page = Page(shared=shared)
    metrics.INSTANCES.labels("shared-test", "0000").inc(5)
    before = read(page)

    child(count=2)
    child(count=30)
    found = read(page)

    name = "dicomnode_instances_received_total", "shared-test", "0000"
    assert found[name] - before[name] == 32


def test_histograms_of_children_are_whole(shared, child):
    child()
    child()

    found = read(Page(shared=shared))

    bucket = "dicomnode_instance_store_seconds_bucket"
    assert [
        found[bucket, le, "shared-test"] for le in ("0.002", "0.005", "2.5", "10.0", "+Inf")
    ] == [
        0,
        2,
        2,
        4,
        4,
    ]
    assert found["dicomnode_instance_store_seconds_count", "shared-test"] == 4
    assert found["dicomnode_instance_store_seconds_sum", "shared-test"] == pytest.approx(6.008)


def test_a_dead_child_has_counted_all_the_same_and_has_nothing_open(shared, child):
    page = Page(shared=shared)
    name = "dicomnode_instances_received_total", "shared-test", "0000"
    before = read(page).get(name, 0)
    dead = child(count=7, opened=3)
    child(count=1, opened=2)
    opened = read(page)["dicomnode_associations_open", "shared-test"]

    dead.kill()
    dead.wait(10)
    shared.forget(dead.pid)
    found = read(page)

    assert opened == 5
    assert found["dicomnode_associations_open", "shared-test"] == 2
    assert found[name] - before == 8


def test_of_triton_the_process_counts_that_has_one(shared, child):
    child()
    metrics.TRITON_UP.set(1)
    try:
        assert read(Page(shared=shared))["dicomnode_triton_up",] == 1
    finally:
        metrics.TRITON_UP.set(0)


def test_a_new_run_begins_with_what_it_counts_itself(shared, child):
    child(count=9)

    again = Shared(shared.folder)

    assert list(again.folder.iterdir()) == []


def test_no_family_is_given_twice(shared, child):
    child()

    lines = Page(shared=shared).render().decode().splitlines()

    types = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert len(types) == len(set(types))
    assert "process_open_fds" in types
