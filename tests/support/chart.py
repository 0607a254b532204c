"""The Helm chart as a release: rendered by a real Helm, looked at as objects."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "dicomnode"
SETS = {path.name.removesuffix("-values.yaml"): path for path in (CHART / "ci").iterdir()}
EVERY = [None, *sorted(SETS)]
_PODS = {"Deployment", "StatefulSet", "Job", "Pod"}


def helm(*arguments):
    """Run Helm and return how it ended."""
    return subprocess.run(
        [ROOT / "tools" / "helm", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _flags(values, changes):
    if isinstance(values, str):
        yield from ("--values", SETS[values])
    for name, value in changes.items():
        yield from ("--set-json", f"{name.replace('__', '.')}={json.dumps(value)}")


@cache
def _template(*arguments):
    return helm("template", "demo", CHART, "--namespace", "ns", *arguments)


def _rendered(values=None, **changes):
    return _template(*_flags(values, changes))


def render(values=None, **changes):
    """Return a release's objects by kind and name; `changes` are values by path, dots doubled."""
    done = _rendered(values, **changes)
    assert done.returncode == 0, done.stderr
    return {
        (each["kind"], each["metadata"]["name"]): each
        for each in yaml.safe_load_all(done.stdout)
        if each
    }


def refused(values=None, **changes):
    """Return the sentences with which a release is refused."""
    done = _rendered(values, **changes)
    assert done.returncode != 0
    return done.stderr


def pods(objects):
    """Yield name and pod specification of whatever makes pods."""
    for (kind, name), each in objects.items():
        if kind in _PODS:
            yield name, each["spec"] if kind == "Pod" else each["spec"]["template"]["spec"]


def kinds(objects):
    return {kind for kind, _ in objects}


def toml_of(objects):
    """Return the configuration that the release gives the node."""
    return objects["ConfigMap", "demo-dicomnode"]["data"]["dicomnode.toml"]
