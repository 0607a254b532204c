"""Names in the documentation: commands, configuration keys, log lines and reasons that exist."""

import re

import pytest
import typer

from dicomnode.cli.main import app
from dicomnode.config.reference import sections
from tests.support.pages import ROOT, pages

HISTORY = {ROOT / "CHANGELOG.md", *(ROOT / "docs" / "adr").glob("*.md")}
PAGES = [page for page in pages() if page not in HISTORY]

SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for folder in ("dicomnode", "config", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in {".py", ".toml", ".md", ".html", ".pbtxt", ".yml"} and path.is_file()
)


def spans(page):
    """What stands in backticks, within a line, outside of fenced blocks."""
    text = re.sub(
        r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return re.findall(r"`([^`\n]+)`", text)


def command_paths():
    """Every command, as words; a group, too."""

    def walk(command, path):
        yield path
        for name, child in getattr(command, "commands", {}).items():
            yield from walk(child, (*path, name))

    return set(walk(typer.main.get_command(app), ()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_that_is_named_exists(page):
    known = command_paths()
    named = [each.split()[1:] for each in spans(page) if re.match(r"dicomnode [a-z]", each)]

    unknown = []
    for words in named:
        path = ()
        while len(path) < len(words) and (*path, words[len(path)]) in known:
            path = (*path, words[len(path)])
        if not path:
            unknown.append(words)
    assert unknown == []


def key_paths():
    """Every key, with the section's path and without names of pipelines and destinations."""
    for section in sections():
        path = section.path.replace("[]", "").replace(".NAME", ".*")
        yield path
        yield from (f"{path}.{key.name}".lstrip(".") for key in section.keys)


KEYS = set(key_paths())
TOP = {each.partition(".")[0] for each in KEYS}


VALUES = ROOT / "docs" / "deploy.md"
"""Its dotted names are values of the Helm chart, which has a schema of its own."""


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page != VALUES],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_every_key_that_is_named_exists(page):
    known = {re.sub(r"\.\*", "", each) for each in KEYS}
    named = {
        each.strip("[]")
        for span in spans(page)
        for each in re.findall(r"^\[{0,2}[a-z_]+(?:\.[A-Za-z_*-]+)+\]{0,2}$", span)
    }
    wanted = {
        each: re.sub(r"(?<=^pipelines)\.[\w*-]+|(?<=^destinations)\.[\w*-]+", "", each)
        for each in named
        if each.partition(".")[0] in TOP - {"log"}
    }
    files = re.compile(r"\.(py|md|toml|dcm|json|png|gz|txt|html)$")

    assert [
        each for each, key in wanted.items() if not files.search(each) and key not in known
    ] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_of_a_log_line_reason_or_function_is_in_the_code(page):
    named = {each for each in spans(page) if re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", each)}

    assert sorted(each for each in named if each not in SOURCES) == []
