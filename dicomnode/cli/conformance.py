"""``dicomnode conformance``: the DICOM conformance statement of a configuration."""

from __future__ import annotations

import sys

from dicomnode.cli.output import ConfigOption, JsonOption, errors_as_exits, print_json
from dicomnode.config import find_file, load
from dicomnode.conformance.statement import facts, write_statement


def conformance(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Print the DICOM conformance statement of this configuration (PS3.2), in Markdown."""
    with errors_as_exits():
        settings = load(find_file(config))
        if as_json:
            print_json(facts(settings))
        else:
            sys.stdout.write(write_statement(settings))
