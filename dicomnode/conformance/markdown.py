"""A page of Markdown with numbered sections, tables, and contents made of its headings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

_CONTENTS: Final = "\0contents\0"
_DEEPEST: Final = 3
"""Sections below this level are not in the contents."""


@dataclass
class Page:
    """Blocks of Markdown in order."""

    _blocks: list[str] = field(default_factory=list)
    _headings: list[tuple[int, str]] = field(default_factory=list)

    def heading(self, number: str, title: str) -> None:
        """Begin a section; its level is that of its number."""
        level = 1 + len(number.removeprefix("A.").split(".")) if number else 1
        words = f"{number} {title}".strip()
        self._headings.append((level, words))
        self._blocks.append(f"{'#' * min(level, 6)} {words}")

    def not_applicable(self, number: str, title: str) -> None:
        """Begin and end a section of the template that has no content here (PS3.2 N)."""
        self.heading(number, f"{title} - N/A")
        self.text("N/A")

    def text(self, *paragraphs: str) -> None:
        """Add paragraphs, or lists that are Markdown already."""
        self._blocks.extend(paragraphs)

    def points(self, items: Iterable[str]) -> None:
        """Add a list."""
        self._blocks.append("\n".join(f"* {each}" for each in items))

    def drawing(self, text: str) -> None:
        """Add text that keeps its columns."""
        self._blocks.append("\n".join(f"    {line}".rstrip() for line in text.splitlines()))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Add a table; without rows it says so."""
        lines = [[_cell(each) for each in row] for row in rows]
        if not lines:
            self._blocks.append("None.")
            return
        head = [columns, ["---"] * len(columns)]
        self._blocks.append(
            "\n".join("| " + " | ".join(map(str, each)) + " |" for each in (*head, *lines))
        )

    def contents(self) -> None:
        """Put the contents of the whole page here."""
        self._blocks.append(_CONTENTS)

    def markdown(self) -> str:
        """Return the page."""
        listed = "\n".join(
            f"{'  ' * (level - 2)}* [{words}](#{anchor(words)})"
            for level, words in self._headings
            if 1 < level <= _DEEPEST
        )
        return "\n\n".join(self._blocks).replace(_CONTENTS, listed) + "\n"


def anchor(heading: str) -> str:
    """Return the anchor that forges give a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
