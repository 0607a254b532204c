"""Findings in a few lines for a terminal, from the content of ``findings.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def findings_lines(summary: Mapping[str, Any]) -> list[str]:
    """Say volumes, classifications and guards, a line each."""
    lines = [f"{each['label']}: {each['volume_ml']:.0f} mL" for each in summary["segments"]]
    for each in summary["classifications"]:
        scores = ", ".join(_score(each["score_kind"], score) for score in each["scores"])
        lines.append(f"{each['question']['meaning']}: {each['answer']['meaning']} ({scores})")
    lines += [guard["sentence"] for guard in summary["guards"]]
    lines += list(summary["notes"])
    if not summary["classifications"]:
        lines.append("Classification: not analyzed")
    return lines


def seconds_table(seconds: Mapping[str, float]) -> Table:
    """Lay out how long each stage took."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for stage, took in seconds.items():
        table.add_row(stage, f"{took:.2f} s")
    return table


def _score(kind: str, score: Mapping[str, Any]) -> str:
    value = score["score"]
    if value is None:
        return f"{score['class']} unknown"
    return (
        f"{score['class']} {value:.1f} %" if kind == "percent" else f"{score['class']} {value:.3f}"
    )
