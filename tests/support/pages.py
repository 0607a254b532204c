"""The project's Markdown pages: their headings, links and fenced blocks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(
    r"^(?P<marker><!--[^\n]*-->\n)?(?P<indent> *)```(?P<kind>\w*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_INDENTED_MARKER = re.compile(r"<!-- not run: .+ -->$")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    kind: str
    body: str
    is_run: bool

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return every Markdown page of the project."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def blocks(page: Path, *kinds: str) -> Iterator[Block]:
    """Yield the fenced blocks of these languages; a comment before one may say it is not run."""
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if found["kind"] not in kinds:
            continue
        before = text[: found.start()].rstrip().rpartition("\n")[2]
        marker = (found["marker"] or before).strip()
        indent = found["indent"]
        body = re.sub(rf"^{indent}", "", found["body"], flags=re.MULTILINE)
        line = text.count("\n", 0, found.start("kind")) + 1
        yield Block(page, line, found["kind"], body, not _INDENTED_MARKER.search(marker))


def anchors(page: Path) -> set[str]:
    """Return the anchors that forges give the headings of a page."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", text, flags=re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        found.add(name if not seen[name] else f"{name}-{seen[name]}")
        seen[name] += 1
    return found


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Yield path and anchor of every link that stays within the project."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", page.read_text(encoding="utf-8")))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield path, anchor
