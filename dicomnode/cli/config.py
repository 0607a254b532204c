"""``dicomnode config``: checks, shows and describes the configuration."""

from __future__ import annotations

import re
from typing import Final

import typer

from dicomnode.cli.output import ConfigOption, JsonOption, errors_as_exits, facts, print_json
from dicomnode.config import Config, find_file, load
from dicomnode.pipeline.setup import build_setups
from dicomnode.tls import check_files

# Up to the last @: a password may hold one.
_PASSWORD: Final = re.compile(r"(://[^:/@]*:).*@")

app = typer.Typer(no_args_is_help=True, help="Check, show and describe the configuration.")


@app.command()
def check(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Name every fault, each with its dotted path; exit code 78 if there is one."""
    path = find_file(config)
    with errors_as_exits():
        settings = load(path)
        setups = build_setups(settings)
        check_files(settings)
    source = "built-in defaults" if path is None else str(path)
    if as_json:
        print_json({"source": source, "pipelines": {k: v.version for k, v in setups.items()}})
    else:
        facts.print(f"{source}: no faults; pipelines: {', '.join(setups)}", markup=False)


@app.command()
def show(config: ConfigOption = None) -> None:
    """Print the configuration as the node understands it: defaults included, secrets masked."""
    with errors_as_exits():
        settings = load(find_file(config))
    shown = settings.model_dump(mode="json")
    shown["database"]["url"] = _PASSWORD.sub(r"\1***@", settings.database.url)
    print_json(shown)


@app.command()
def schema() -> None:
    """Print the JSON schema of the configuration."""
    print_json(Config.model_json_schema())
