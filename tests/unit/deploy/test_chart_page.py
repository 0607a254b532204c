"""The page on deploying: its values are the chart's, and pods are called as it says."""

from __future__ import annotations

import re

import yaml

from tests.support.chart import CHART, ROOT, helm

PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def test_the_pages_values_are_values(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "site.yaml"
    path.write_text(block)

    done = helm("template", "dicomnode", CHART, "--values", path)

    assert done.returncode == 0, done.stderr
    assert "registry.example.org/radiology/dicomnode:0.1.0" in done.stdout
    assert "CHESTCT@dicomnode-receive:11112" in done.stdout


def test_what_the_page_sets_can_be_set():
    lines = [line for line in PAGE.splitlines() if line.startswith("    helm ") and "--set" in line]
    assert len(lines) == 2

    for line in lines:
        given = re.findall(r"--set \S+", line)
        done = helm("template", "demo", CHART, *" ".join(given).split())
        assert done.returncode == 0, done.stderr


def test_the_page_names_pods_as_they_will_be_called():
    one, many = (
        re.findall(r"^    (dicomnode\S*?)(?:-[0-9a-f]{8,10}-\w{5}|-0)? +1/1 ", text, re.MULTILINE)
        for text in PAGE.partition("and in `mode: distributed`")[::2]
    )
    site = ("--set", "database.secretName=d", "--set", "triton.mode=deployment")
    done = helm("template", "dicomnode", CHART, "--set", "mode=distributed", *site)
    made = {
        each["metadata"]["name"]
        for each in yaml.safe_load_all(done.stdout)
        if each and each["kind"] == "Deployment"
    }

    assert one == ["dicomnode"]
    assert set(many) == made
