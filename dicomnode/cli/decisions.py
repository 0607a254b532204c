"""Decisions on series for people and programs: rule by rule, with the values seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from dicomnode.cli.output import facts, print_json
from dicomnode.model.selection import Decision
from dicomnode.pipeline.offline import Explanation


def decision_table(decision: Decision) -> Table:
    """Lay out every rule, what it wanted, what it found and whether it passed."""
    table = Table("", "rule", "wanted", "found", box=None, pad_edge=False)
    for each in decision.outcomes:
        # Text, not markup: values of a header may look like it.
        row = (Text(word) for word in (each.rule, each.wanted, each.found))
        table.add_row("yes" if each.passed else "NO", *row)
    return table


def decision_as_json(decision: Decision) -> dict[str, Any]:
    """Return a decision as values that JSON has."""
    return {
        "is_selected": decision.is_selected,
        "sentence": decision.sentence,
        "rules": [asdict(each) for each in decision.outcomes],
    }


def print_explanations(explained: Sequence[Explanation], *, as_json: bool) -> None:
    """Print what would become of series, and why."""
    if as_json:
        print_json([_as_json(each) for each in explained])
        return
    for each in explained:
        facts.print(f"series {each.series_instance_uid}", markup=False)
        facts.print(decision_table(each.decision))
        for line in _lines(each):
            facts.print(f"  {line}", markup=False, soft_wrap=True)


def _lines(explanation: Explanation) -> Iterable[str]:
    yield explanation.decision.sentence
    if explanation.sentence is not None:
        yield f"Refused ({explanation.reason}): {explanation.sentence}"
    if explanation.shape_kji is not None and explanation.spacing_ijk_mm is not None:
        slices, rows, columns = explanation.shape_kji
        columns_mm, rows_mm, slices_mm = explanation.spacing_ijk_mm
        yield (
            f"A volume of {slices} slices of {rows} rows and {columns} columns, spaced "
            f"{slices_mm:.3f} x {rows_mm:.3f} x {columns_mm:.3f} mm."
        )
    yield from explanation.notes


def _as_json(explanation: Explanation) -> dict[str, Any]:
    return {**asdict(explanation), "decision": decision_as_json(explanation.decision)}
