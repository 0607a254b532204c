"""What probes and scrapers get of a role without a console."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicomnode.console.health import build_health_app
from dicomnode.console.probes import Probes
from tests.support.console import Client


@pytest.fixture
def ask():
    def build(**probes):
        return Client(build_health_app(Probes(**probes))).get

    return build


def test_it_lives_while_every_loop_comes_round(ask):
    answer = ask(liveness=lambda: {"series-closer": None})("/healthz")

    assert (answer.status_code, answer.text) == (200, "ok\n")


def test_a_loop_that_hangs_is_named_and_the_process_counts_as_dead(ask):
    answer = ask(liveness=lambda: {"series-closer": "hangs for 400 s", "other": None})("/healthz")

    assert (answer.status_code, answer.text) == (503, "series-closer: hangs for 400 s\n")


def test_liveness_asks_no_component(ask):
    asked = []

    ask(readiness=lambda: asked.append(1) or {})("/healthz")

    assert asked == []


def test_the_metrics_can_be_parsed(ask):
    answer = ask()("/metrics")

    families = {each.name for each in text_string_to_metric_families(answer.text)}
    assert {"dicomnode_associations", "dicomnode_triton_up"} <= families
