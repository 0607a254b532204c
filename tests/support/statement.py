"""Reading a conformance statement as its readers do: the tables below a heading."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """The Markdown of a statement."""

    text: str

    def headings(self) -> list[str]:
        return re.findall(r"^#+ (.+)$", self.text, flags=re.MULTILINE)

    def section(self, heading: str) -> str:
        """Return what stands between a heading and the next one."""
        found = re.search(
            rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#+ |\Z)", self.text, re.MULTILINE | re.DOTALL
        )
        assert found, f"no section {heading!r}"
        return found[1]

    def table(self, heading: str, first_column: str) -> list[dict[str, str]]:
        """Return the rows of the table of a section that begins with that column."""
        for block in self.section(heading).split("\n\n"):
            lines = [_cells(line) for line in block.strip().splitlines() if line.startswith("|")]
            if lines and lines[0][0] == first_column:
                return [dict(zip(lines[0], row, strict=True)) for row in lines[2:]]
        raise AssertionError(f"no table {first_column!r} in section {heading!r}")

    def sets(self) -> dict[str, list[str]]:
        """Return the sets of transfer syntaxes by letter, in their order."""
        found: dict[str, list[str]] = {}
        for row in self.table("7.1.2 Sets of Transfer Syntaxes", "set"):
            found.setdefault(row["set"], []).append(row["UID"])
        return found

    def syntaxes(self, cell: str) -> list[str]:
        """Return the transfer syntaxes that a cell stands for."""
        if cell.startswith("set "):
            return self.sets()[cell.removeprefix("set ")]
        return cell.split(", ")

    def accepted(self, number: str, ae_title: str) -> dict[str, list[str]]:
        """Return what an AE title is said to accept: transfer syntaxes by abstract syntax."""
        rows = self.table(f"{number}.4 Association Acceptance by {ae_title}", "abstract syntax")
        return {row["UID"]: self.syntaxes(row["transfer syntaxes"]) for row in rows}

    def proposed(self, number: str, ae_title: str) -> dict[tuple[str, str], set[str]]:
        """Return what is said to be proposed: ``UID role`` and syntaxes, by activity and peer."""
        heading = f"{number}.3 Association Initiation by {ae_title}"
        activities = self.table(heading, "activity")
        assert activities
        found: dict[tuple[str, str], set[str]] = {}
        block = self.section(heading).strip().split("\n\n")[-1]
        lines = [_cells(line) for line in block.strip().splitlines()]
        for row in lines[2:]:
            each = dict(zip(lines[0], row, strict=True))
            syntaxes = ",".join(self.syntaxes(each["transfer syntaxes"]))
            found.setdefault((each["activity"], each["peer"]), set()).add(
                f"{each['UID']} {syntaxes}"
            )
        return found


def _cells(line: str) -> list[str]:
    return [each.strip().replace("\\|", "|") for each in re.split(r"(?<!\\)\|", line)[1:-1]]
