"""docs/metrics.md names every metric, with its type, labels and meaning, and no other."""

import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

import dicomnode.metrics  # noqa: F401  (declares them)
from dicomnode.metrics import standing

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"

UNITS = ("seconds", "bytes", "info")
"""Units and the one suffix that stands for none, as Prometheus' conventions have them."""


def declared():
    """Rows of the table: (name, type, labels, meaning)."""
    rows = [
        (
            metric._name + ("_total" if metric._type == "counter" else ""),
            metric._type,
            ", ".join(metric._labelnames),
            metric._documentation,
        )
        for metric in set(REGISTRY._collector_to_names)
        if isinstance(metric, MetricWrapperBase) and metric._name.startswith("dicomnode_")
    ]
    rows += [
        (each.name, "gauge", ", ".join(each.labels), each.documentation)
        for each in (*standing.GAUGES, standing.ANSWERED, standing.ASK_SECONDS)
    ]
    return sorted(rows)


def test_the_page_has_the_table_that_the_code_has():
    wanted = [
        f"| `{name}` | {kind} | {labels} | {words} |" for name, kind, labels, words in declared()
    ]

    shown = re.findall(r"^\| `dicomnode_.*$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert shown == wanted, "put this into docs/metrics.md:\n" + "\n".join(wanted)


@pytest.mark.parametrize(("name", "kind"), [row[:2] for row in declared()])
def test_a_name_says_what_it_counts_and_in_which_unit(name, kind):
    assert re.fullmatch(r"dicomnode(_[a-z]+)+", name)
    assert name.endswith("_total") == (kind == "counter")
    if kind == "histogram":
        assert name.endswith(UNITS)
    for unit in ("millis", "minutes", "kilobytes", "percent"):
        assert unit not in name


def test_no_label_can_hold_what_belongs_to_a_patient_or_grows_without_end():
    labels = {each for row in declared() for each in row[2].split(", ") if each}

    assert labels == {
        "component",
        "destination",
        "model",
        "outcome",
        "pipeline",
        "reason",
        "section",
        "source",
        "stage",
        "state",
        "status",
        "version",
    }
