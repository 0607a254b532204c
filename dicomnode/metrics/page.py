"""The text that Prometheus scrapes: what this process counted, its children counted, and is asked.

A process that is started with `Shared.environment` counts into files of a folder instead of its
memory (prometheus_client's multi-process mode); whoever started it adds them up here.  So several
processes behind one port are one target.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_HIGHEST: Final = frozenset(("dicomnode_triton_up",))
"""Gauges of which the highest of all processes counts; the others are added up."""

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

# When each series began is of no use here, and doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Shared:
    """A folder that child processes count into.

    Parameters
    ----------
    folder : Path
        Emptied: what children of an earlier run counted ended with that run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a child must have in its environment before it imports anything of ours."""
        return {_VARIABLE: str(self.folder)}

    def forget(self, pid: int) -> None:
        """Take a dead child out of the gauges; what it counted stays."""
        mark_process_dead(pid, path=str(self.folder))  # type: ignore[no-untyped-call]


class Page:
    """Makes the text.  Thread-safe.

    Parameters
    ----------
    standing : Collector, optional
        Asked at each scrape.
    shared : Shared, optional
        What children count into.
    """

    def __init__(self, standing: Collector | None = None, *, shared: Shared | None = None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Counted(None if shared is None else shared.folder))
        if standing is not None:
            self._registry.register(standing)

    def render(self) -> bytes:
        """Return the page in Prometheus' text form, of `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _Counted(Collector):
    """What was counted here, and by children."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def describe(self) -> Iterable[Metric]:
        """Claim no names: the process's own collectors have theirs."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Add up."""
        own = {each.name: each for each in REGISTRY.collect()}
        if self._folder is not None:
            collector = MultiProcessCollector(None, path=str(self._folder))  # type: ignore[no-untyped-call]
            for family in collector.collect():  # type: ignore[no-untyped-call]
                mine = own.get(family.name)
                own[family.name] = family if mine is None else _add(mine, family)
        return own.values()


def _add(mine: Metric, other: Metric) -> Metric:
    """Return a family with the samples of two, those of the same labels joined."""
    joined: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    order: dict[tuple[str, frozenset[tuple[str, str]]], dict[str, str]] = {}
    for sample in (*mine.samples, *other.samples):
        key = sample.name, frozenset(sample.labels.items())
        order.setdefault(key, sample.labels)
        if mine.name in _HIGHEST:
            joined[key] = max(joined.get(key, sample.value), sample.value)
        else:
            joined[key] = joined.get(key, 0.0) + sample.value
    family = Metric(mine.name, mine.documentation, mine.type)
    for key, labels in order.items():
        family.add_sample(key[0], labels, joined[key])
    return family
