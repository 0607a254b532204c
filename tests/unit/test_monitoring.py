"""config/monitoring: sound rules, each with a test that can fail and a place to read on."""

import json
import re
from pathlib import Path

import pytest

from tests.support.prometheus import dashboard_expressions, promtool

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "config" / "monitoring"
RULES = (FOLDER / "alerts.yml", FOLDER / "alerts-optional.yml")
TESTS = FOLDER / "alerts_test.yml"


def alerts():
    """Alert -> text of its rule."""
    text = "".join(path.read_text(encoding="utf-8") for path in RULES)
    return dict(re.findall(r"- alert: (\w+)\n(.*?)(?=\n *- alert:|\Z)", text, re.DOTALL))


def test_the_rules_are_sound():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)

    assert done.returncode == 0, done.stderr


def test_the_rules_say_what_they_are_to_say_and_nothing_else():
    done = promtool("test", "rules", TESTS)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_seen_to_fire():
    fired = re.findall(
        r"alertname: (\w+)\n +exp_alerts:\n +- exp_labels", TESTS.read_text(encoding="utf-8")
    )

    assert set(fired) == alerts().keys()


@pytest.mark.parametrize("name", sorted(alerts()))
def test_a_rule_says_how_bad_it_is_and_where_to_read_on(name):
    text = alerts()[name]

    assert re.search(r"severity: (critical|warning)\b", text)
    assert re.search(r"summary: \S", text)
    assert re.search(r"runbook: docs/operations\.md#[a-z-]+$", text, re.MULTILINE)


def test_the_dashboard_names_a_source_that_can_be_chosen():
    dashboard = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    panels = [each for each in dashboard["panels"] if each["type"] != "row"]

    assert {each["datasource"]["uid"] for each in panels} == {"${datasource}"}
    assert len({each["id"] for each in dashboard["panels"]}) == len(dashboard["panels"])
    assert len(dashboard_expressions(dashboard)) > len(panels)
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels)))
    variables = {each["name"] for each in dashboard["templating"]["list"]}
    assert used == variables | {"__rate_interval"}


@pytest.mark.parametrize("name", ["alerts.yml", "dashboard.json"])
def test_the_chart_brings_the_same(name):
    copy = ROOT / "deploy" / "helm" / "dicomnode" / "files" / name

    assert copy.read_bytes() == (FOLDER / name).read_bytes(), "copy it: Helm reads its own only"
