"""Write docs/configuration.md, docs/errors.md and docs/conformance.md from the code.

With ``--check`` nothing is written: the command fails and names what is not as the code says.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from dicomnode import errors
from dicomnode.cli.output import exit_code
from dicomnode.config import load
from dicomnode.config.reference import KeyReference, SectionReference, sections
from dicomnode.conformance.statement import write_statement
from dicomnode.standard.status import describe_store_status

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
REFERENCE = ROOT / "config" / "dicomnode.toml"
CONFIGURATION = """\
Every section and key. [`config/dicomnode.toml`](../config/dicomnode.toml) shows them in place;
`dicomnode config check` names every fault, `dicomnode config show` what is in force,
`dicomnode config schema` prints this as a JSON schema.

The file is the one of `--config`, else of `DICOMNODE_CONFIG`, else `./dicomnode.toml`, else
built-in defaults serve on loopback. A key is set by environment as `DICOMNODE_SECTION__KEY` as
well, and wins over the file then: a hyphen in a name becomes one underscore, lists are JSON.
Unknown keys are faults. Secrets stand in files that keys name, read when they are needed.

`NAME` stands for a name that a site gives: lower-case letters, digits, hyphens. `[[...]]` is a
list of tables. A file with neither pipelines nor destinations gets one pipeline, called AE title
DICOMNODE, whose results go to the folder `data_dir/results`.""".splitlines()

ERRORS = """\
Everything that the node raises on purpose. Commands end with the sentence of the error on
standard error and the exit code below (2 is a usage error). A failed job shows the error's name
as its reason; a refused series the reason below, which is also a code in its report. Codes,
names and reasons are stable, sentences are not. No sentence holds anything of a patient.

| code | name | reason or status | again by itself | exit code | means | what to do |
| --- | --- | --- | --- | --- | --- | --- |""".splitlines()

OTHER_REASONS = """\
| reason of a job | state | |
| --- | --- | --- |
| `later_revision` | superseded | Later instances came; their revision has its own job. |
| `study_open` | waiting | The best series is chosen when its study has been quiet for a while. |
| `model_busy` | waiting | Other calls have the model; it goes on by itself when its turn comes. |
| `not_selected` | not_selected | The sentence names the rule that did not pass. |
| `given_up` | failed | Its worker died over it too often: look at the log. |""".splitlines()

MADE = "<!-- Made by `make docs`; do not edit. -->\n\n"


def main() -> int:
    """Write the pages, or check them."""
    is_check = "--check" in sys.argv[1:]
    wrong = []
    for name, make in PAGES.items():
        path = DOCS / name
        content = MADE + make()
        if is_check:
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                wrong.append(name)
        else:
            path.write_text(content, encoding="utf-8")
    for name in wrong:
        print(f"docs/{name} is not what the code says: run `make docs`", file=sys.stderr)
    return 1 if wrong else 0


def configuration() -> str:
    """Return the reference of the configuration."""
    lines = ["# Configuration reference", "", *CONFIGURATION]
    written: dict[tuple[object, ...], str] = {}
    for section in sections():
        title = _title(section)
        lines += ["", f"## {title}", "", *_about(section)]
        known = written.setdefault((section.description, section.keys), title)
        if known != title:
            lines += [f"The keys are those of {known}."]
            continue
        lines += ["| key | takes | default | |", "| --- | --- | --- | --- |"]
        lines += [
            f"| `{key.name}` | {_cell(key.kind)} | {_default(key)} | {_cell(key.description)} |"
            for key in section.keys
        ]
    return "\n".join(lines) + "\n"


def _title(section: SectionReference) -> str:
    if not section.path:
        return "Above all sections"
    kind = f", kind `{section.variant}`" if section.variant else ""
    if section.path.endswith("[]"):
        return f"`[[{section.path[:-2].replace('[]', '')}]]`{kind}"
    return f"`[{section.path.replace('[]', '')}]`{kind}"


def _about(section: SectionReference) -> Iterator[str]:
    if section.path:
        absent = " Optional: without the table there is none of it." if section.is_optional else ""
        yield f"{section.description}{absent}"
        yield ""


def _default(key: KeyReference) -> str:
    if key.default is None:
        return "required"
    return f"`{key.default}`" if key.default else "none"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def error_page() -> str:
    """Return the reference of errors."""
    lines = ["# Errors reference", "", *ERRORS]
    lines += [
        f"| {kind.code} | `{kind.__name__}` | {_detail(kind)} | {_again(kind)} | "
        f"{int(exit_code(kind.__new__(kind)))} | {inspect.getdoc(kind).splitlines()[0]} | "
        f"{_cell(kind.advice)} |"
        for kind in _tree(errors.NodeError)
    ]
    lines += ["", "## Reasons that are no error", "", *OTHER_REASONS]
    return "\n".join(lines) + "\n"


def _tree(root: type[errors.NodeError]) -> Iterator[type[errors.NodeError]]:
    yield root
    for child in root.__subclasses__():
        yield from _tree(child)


def _detail(kind: type[errors.NodeError]) -> str:
    if issubclass(kind, errors.SeriesError):
        return f"`{kind.reason}`"
    if issubclass(kind, errors.ReceiveError):
        return f"0x{kind.status:04X} {describe_store_status(kind.status)}"
    return ""


def _again(kind: type[errors.NodeError]) -> str:
    if "transient" in inspect.signature(kind.__init__).parameters:
        return "if the peer's answer allows it"
    return "yes" if kind.retryable else "no"


def statement() -> str:
    """Return the conformance statement of the configuration that the project shows."""
    for variable in [each for each in os.environ if each.startswith("DICOMNODE_")]:
        del os.environ[variable]
    return (
        "That of [`config/dicomnode.toml`](../config/dicomnode.toml); yours is what `dicomnode "
        "conformance` prints.\n\n" + write_statement(load(REFERENCE))
    )


PAGES: dict[str, Callable[[], str]] = {
    "configuration.md": configuration,
    "errors.md": error_page,
    "conformance.md": statement,
}

if __name__ == "__main__":
    sys.exit(main())
